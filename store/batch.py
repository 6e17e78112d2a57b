"""A session that also writes rows by the many.

A unit of work for each row costs more than what is decided about it. So rows whose new values are
known whole are kept, and the next flush writes them: all of a kind with one statement, before what
objects of the session have become. Objects that are loaded show the new values at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, Update, bindparam, inspect, update
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session, SQLModel

Values = dict[str, Any]
_KEY = "key_"
"""What a statement calls the primary key of the row that it changes."""


class BatchSession(Session):
    """Its `put_row` and `change_row` take part in every flush, and in those before a query."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows: dict[type[SQLModel], list[Values]] = defaultdict(list)
        self._changes: dict[type[SQLModel], dict[Any, Values]] = defaultdict(dict)

    def put_row(self, table: type[SQLModel], values: Values) -> None:
        """Insert a row of these values, or replace the one with its primary key."""
        key = tuple(values[name] for name in _key_names(table))
        known = self.identity_map.get(_mapper(table).identity_key_from_primary_key(key))
        if known is not None:
            _show(known, values)
        self._rows[table].append(values)

    def change_row(self, row: SQLModel, values: Mapping[str, Any]) -> None:
        """Change columns of a row that is loaded, those that are not so already."""
        known = vars(row)
        changed = {name: value for name, value in values.items() if known.get(name, ...) != value}
        if changed:
            _show(row, changed)
            self._changes[type(row)].setdefault(key_of(row), {}).update(changed)

    def flush(self, objects: Any = None) -> None:
        if self._rows or self._changes:
            self._write()
        super().flush(objects)

    def _write(self) -> None:
        rows, self._rows = self._rows, defaultdict(list)
        changes, self._changes = self._changes, defaultdict(dict)
        postgres = self.get_bind().dialect.name == "postgresql"
        execute = self.connection().execute
        for table, by_key in changes.items():
            for names, some in _alike(_with_key(table, by_key)).items():
                execute(_update(table, names), some)
        for table, values in rows.items():
            for names, some in _alike(values).items():
                execute(_upsert(table, names, postgres), some)


def insert_into(table: Any, *, postgres: bool) -> PostgresInsert | SqliteInsert:
    """An insert that knows `on_conflict_do_...`: both databases have it, each in its own way."""
    return PostgresInsert(table) if postgres else SqliteInsert(table)


def key_of(row: SQLModel) -> Any:
    """The primary key as `Session.get` takes it."""
    key = tuple(getattr(row, name) for name in _key_names(type(row)))
    return key[0] if len(key) == 1 else key


def key_in(table: type[SQLModel], values: Mapping[str, Any]) -> Any:
    """The same, of a row's values."""
    key = tuple(values[name] for name in _key_names(table))
    return key[0] if len(key) == 1 else key


def _show(row: SQLModel, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        set_committed_value(row, name, value)


def _with_key(table: type[SQLModel], by_key: Mapping[Any, Values]) -> Iterable[Values]:
    names = [_KEY + name for name in _key_names(table)]
    for key, values in by_key.items():
        parts = key if isinstance(key, tuple) else (key,)
        yield values | dict(zip(names, parts, strict=True))


def _alike(rows: Iterable[Values]) -> dict[tuple[str, ...], list[Values]]:
    """By the names of their columns."""
    found: dict[tuple[str, ...], list[Values]] = defaultdict(list)
    for row in rows:
        found[tuple(sorted(row))].append(row)
    return found


@lru_cache
def _mapper(table: type[SQLModel]) -> Mapper[Any]:
    return inspect(table)


@lru_cache
def _key_names(table: type[SQLModel]) -> tuple[str, ...]:
    return tuple(column.name for column in inspect(table).primary_key)


@lru_cache
def _update(table: type[SQLModel], names: tuple[str, ...]) -> Update:
    columns = inspect(table).local_table.c
    changed: Values = {name: bindparam(name) for name in names if not name.startswith(_KEY)}
    where = [columns[name] == bindparam(_KEY + name) for name in _key_names(table)]
    return update(inspect(table).local_table).where(*where).values(changed)


@lru_cache
def _upsert(table: type[SQLModel], names: tuple[str, ...], postgres: bool) -> Insert:
    insert = insert_into(inspect(table).local_table, postgres=postgres)
    key = _key_names(table)
    new = {name: insert.excluded[name] for name in names if name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=new)
