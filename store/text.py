"""Texts that both databases can hold: the one place where what cannot be stored is replaced.

PostgreSQL has no U+0000 in a text, and neither database has half characters (lone surrogates). They
come in messages and outputs of steps; a save that brought one would fail for ever. What people send
is refused at the edge instead.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from sqlalchemy import Engine, event

REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """The text with U+FFFD in place of what cannot be stored."""
    if text.isascii():  # nearly always; Python knows without looking
        return text.replace("\0", REPLACEMENT) if "\0" in text else text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", REPLACEMENT)


def clean_value(value: Any) -> Any:
    """A value of JSON with every text in it cleaned; dataclasses become mappings."""
    if isinstance(value, str):
        return clean(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: clean_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {clean_value(key): clean_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_value(one) for one in value]
    return value


def clean_statements(engine: Engine) -> None:
    """Every text that goes to the database passes `clean`, values to search for too."""

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _before(_c: Any, _d: Any, statement: str, given: Any, _x: Any, many: bool) -> Any:
        return statement, [_clean_row(row) for row in given] if many else _clean_row(given)


def _clean_row(row: Any) -> Any:
    if isinstance(row, dict):
        return {name: _clean_parameter(one) for name, one in row.items()}
    return tuple([_clean_parameter(one) for one in row])


def _clean_parameter(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return clean_value(value) if isinstance(value, list) else value
