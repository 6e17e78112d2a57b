"""Column types: domain values as JSON text, enums as text, times that are always aware and UTC."""

import contextlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Column, DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator

from store.text import clean_value

T = TypeVar("T")
KEPT, KEPT_CHARACTERS = 256, 32_768
"""As many texts are remembered with what they say, if they are no longer."""
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class AsJson(TypeDecorator[T], Generic[T]):
    """A value of one type as JSON text, checked by pydantic on the way out."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any, shared: bool = False) -> None:
        """Args:
        shared: rows with the same text get the same value, which nobody may change.
        """
        super().__init__()
        self.kind, self.shared = kind, shared
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._remembered = lru_cache(KEPT)(self._adapter.validate_json)

    def process_bind_param(self, value: T | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        with contextlib.suppress(ValueError):  # half characters in a text
            text = self._adapter.dump_json(value).decode()
            if "\\u0000" not in text:
                return text
        return json.dumps(_ANYTHING.dump_python(clean_value(value), mode="json"))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> T | None:
        if value is None:
            return None
        remembers = self.shared and len(value) <= KEPT_CHARACTERS
        return self._remembered(value) if remembers else self._adapter.validate_json(value)

    def __repr__(self) -> str:
        return "Text()"


class UtcTime(TypeDecorator[datetime]):
    """`timestamptz`; SQLite, which has no such type, keeps the UTC time without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware and UTC: pass datetime.now(UTC)")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def json_column(
    kind: Any, *, nullable: bool = False, server_default: str | None = None, shared: bool = False
) -> "Column[Any]":
    return Column(AsJson(kind, shared), nullable=nullable, server_default=server_default)


def time_column(*, nullable: bool = False, index: bool = False) -> "Column[Any]":
    return Column(UtcTime(), nullable=nullable, index=index)
