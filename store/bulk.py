"""Rows by the many, all of a kind with one statement.

To PostgreSQL they travel as one text of JSON: the statement is the same however many rows there
are, so it is prepared once, and the server runs it once and not for each row. SQLite runs in this
process, where one for each row costs less than that.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    Text,
    Update,
    any_,
    bindparam,
    column,
    func,
    inspect,
    literal_column,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlmodel import SQLModel

from store.text import clean_value

Values = dict[str, Any]
Names = tuple[str, ...]
Insert = PostgresInsert | SqliteInsert
_ROWS = "rows"
"""What a statement for PostgreSQL calls the text."""
_KEYS = "keys"
"""The first column of the primary keys that it names."""
_KEY = "key_"
"""Before a column of the primary key in a statement for SQLite that changes the others."""
_NUL = "\\u0000"
_DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # it has no types


def put_rows(connection: Connection, kind: type[SQLModel], rows: Iterable[Values]) -> None:
    """Insert rows, or replace those with their primary keys; no key comes twice."""
    for names, some in _alike(rows).items():
        insert_rows(connection, kind, some, _upsert(kind, names, is_postgres(connection)))


def insert_rows(
    connection: Connection, kind: type[SQLModel], rows: Sequence[Values], statement: Any
) -> None:
    """Insert rows with the same columns, by an `insert_of` these."""
    given = _pack(kind, rows) if is_postgres(connection) else rows
    connection.execute(statement, given)


def change_rows(connection: Connection, kind: type[SQLModel], rows: Iterable[Values]) -> None:
    """Change columns of rows that are there; each says its primary key, and no key comes twice."""
    for names, some in _alike(rows).items():
        if is_postgres(connection):
            keys = [row[key_names(kind)[0]] for row in some]
            connection.execute(_update_from(kind, names), {**_pack(kind, some), _KEYS: keys})
        else:
            connection.execute(_update_each(kind, names), [_marked(kind, row) for row in some])


def insert_of(kind: type[SQLModel], names: Names, *, postgres: bool) -> Insert:
    """A statement for `insert_rows`, without what becomes of conflicts."""
    insert = insert_into(kind, postgres=postgres)
    if not postgres:
        return insert
    return insert.from_select(names, select(_given(kind, names)), include_defaults=False)


def insert_into(kind: Any, *, postgres: bool) -> Insert:
    """An insert that knows `on_conflict_do_...`: both databases have it, each in its own way."""
    return PostgresInsert(kind) if postgres else SqliteInsert(kind)


@lru_cache
def key_names(kind: type[SQLModel]) -> Names:
    """The columns of the primary key."""
    return tuple(column.name for column in inspect(kind).primary_key)


def is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _alike(rows: Iterable[Values]) -> Mapping[Names, list[Values]]:
    """By the names of their columns."""
    found: dict[Names, list[Values]] = defaultdict(list)
    for row in rows:
        found[tuple(sorted(row))].append(row)
    return found


def _marked(kind: type[SQLModel], row: Values) -> Values:
    key = key_names(kind)
    return {_KEY + name if name in key else name: value for name, value in row.items()}


# --- statements ----------------------------------------------------------------------------------


@lru_cache
def _table(kind: type[SQLModel]) -> Table:
    return cast("Table", inspect(kind).local_table)


@lru_cache
def _upsert(kind: type[SQLModel], names: Names, postgres: bool) -> Any:
    insert, key = insert_of(kind, names, postgres=postgres), key_names(kind)
    new = {name: insert.excluded[name] for name in names if name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=new)


@lru_cache
def _update_each(kind: type[SQLModel], names: Names) -> Update:
    columns, key = _table(kind).c, key_names(kind)
    where = [columns[name] == bindparam(_KEY + name) for name in key]
    changed: Values = {name: bindparam(name) for name in names if name not in key}
    return update(_table(kind)).where(*where).values(changed)


@lru_cache
def _update_from(kind: type[SQLModel], names: Names) -> Update:
    columns, key, given = _table(kind).c, key_names(kind), _given(kind, names).c
    where = [columns[name] == given[name] for name in key]
    keys = bindparam(_KEYS, type_=ARRAY(columns[key[0]].type))
    where.append(columns[key[0]] == any_(keys))  # by the index, at any size
    return update(_table(kind)).where(*where).values({n: given[n] for n in names if n not in key})


def _given(kind: type[SQLModel], names: Names) -> TableValuedAlias:
    """What the text says, as rows of these columns of the table, each of its type there."""
    table = _table(kind)
    shape: ColumnElement[Any] = literal_column(
        f"NULL::{_DIALECT.identifier_preparer.format_table(table)}"
    )
    text = sql_cast(bindparam(_ROWS, type_=Text()), JSON)
    given = func.json_populate_recordset(shape, text)
    return given.table_valued(*(column(name) for name in names), name="given")


# --- the text ------------------------------------------------------------------------------------


def _pack(kind: type[SQLModel], rows: Iterable[Values]) -> dict[str, str]:
    """The parameter that says these rows."""
    encoders = _encoders(kind)
    values = [
        row | {name: encode(row[name]) for name, encode in encoders if name in row} for row in rows
    ]
    text = _dumped(values)
    return {_ROWS: _dumped(clean_value(values)) if _NUL in text else text}


def _dumped(values: Any) -> str:
    """Raises `ValueError` for a number that is none, and `TypeError` for bytes, which name no
    value; PostgreSQL would quote the rows in its error."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, default=datetime.isoformat)


@lru_cache
def _encoders(kind: type[SQLModel]) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    """By column what its type makes of a value, as it would for a parameter of its own; most take
    it as it is."""
    columns = _table(kind).c
    made = ((c.name, c.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) for c in columns)
    return [(name, encode) for name, encode in made if encode is not None]
