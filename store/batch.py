"""A session that also writes rows by the many.

A unit of work for each row costs more than what is decided about it. So rows whose new values are
known whole are kept, and the next flush writes them: all of a kind with one statement, before what
objects of the session have become. Objects that are loaded show the new values at once.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, SQLModel

from store.bulk import Values, change_rows, key_names, put_rows


class BatchSession(Session):
    """Its `put_row` and `change_row` take part in every flush, and in those before a query."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows: dict[type[SQLModel], dict[Any, Values]] = defaultdict(dict)
        self._changes: dict[type[SQLModel], dict[Any, Values]] = defaultdict(dict)

    def put_row(self, table: type[SQLModel], values: Values) -> None:
        """Insert a row of these values, or replace the one with its primary key."""
        key = tuple(values[name] for name in key_names(table))
        known = self.identity_map.get(_mapper(table).identity_key_from_primary_key(key))
        if known is not None:
            _show(known, values)
        self._rows[table][key] = values

    def change_row(self, row: SQLModel, values: Mapping[str, Any]) -> None:
        """Change columns of a row that is loaded, those that are not so already."""
        known = vars(row)
        changed = {name: value for name, value in values.items() if known.get(name, ...) != value}
        if changed:
            _show(row, changed)
            key = {name: getattr(row, name) for name in key_names(type(row))}
            self._changes[type(row)].setdefault(tuple(key.values()), key).update(changed)

    def flush(self, objects: Any = None) -> None:
        if self._rows or self._changes:
            self._write()
        super().flush(objects)

    def _write(self) -> None:
        rows, self._rows = self._rows, defaultdict(dict)
        changes, self._changes = self._changes, defaultdict(dict)
        connection = self.connection()
        for table, changed in changes.items():
            change_rows(connection, table, changed.values())
        for table, put in rows.items():
            put_rows(connection, table, put.values())


def key_of(row: SQLModel) -> Any:
    """The primary key as `Session.get` takes it."""
    key = tuple(getattr(row, name) for name in key_names(type(row)))
    return key[0] if len(key) == 1 else key


def key_in(table: type[SQLModel], values: Mapping[str, Any]) -> Any:
    """The same, of a row's values."""
    key = tuple(values[name] for name in key_names(table))
    return key[0] if len(key) == 1 else key


def _show(row: SQLModel, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        set_committed_value(row, name, value)


@lru_cache
def _mapper(table: type[SQLModel]) -> Mapper[Any]:
    return inspect(table)
