"""Rows by their primary keys: one statement for any number of them."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ARRAY, any_, bindparam, func, inspect, tuple_
from sqlmodel import Session, SQLModel, select
from sqlmodel.sql.expression import SelectOfScalar

from store.bulk import is_postgres

Row = TypeVar("Row", bound=SQLModel)


def read_rows(
    session: Session, table: type[Row], keys: Collection[Any], *, lock: bool = False
) -> Iterable[Row]:
    """In the order of their keys: everybody locks them in the same one."""
    if not keys:
        return ()
    postgres = is_postgres(session.connection())
    statement = _statement(table, postgres, lock)
    return session.exec(statement, params=_columns(table, keys) if postgres else {"keys": keys})


def _columns(table: type[SQLModel], keys: Collection[Any]) -> dict[str, list[Any]]:
    """Each column of the keys as an array, so that the text is the same for any number of them."""
    single = len(inspect(table).primary_key) == 1
    columns = [keys] if single else zip(*keys, strict=True)
    return {f"keys_{number}": list(column) for number, column in enumerate(columns)}


@lru_cache
def _statement(table: type[Row], postgres: bool, lock: bool) -> SelectOfScalar[Row]:
    columns = inspect(table).primary_key
    if postgres:
        arrays = [bindparam(f"keys_{n}", type_=ARRAY(c.type)) for n, c in enumerate(columns)]
        asked = select(table).where(columns[0] == any_(arrays[0]))  # by the index, at any size
        if len(columns) > 1:
            names = (column.name for column in columns)
            given = func.unnest(*arrays).table_valued(*names, name="given").render_derived()
            asked = asked.where(tuple_(*columns).in_(select(*given.c)))
    else:
        key = columns[0] if len(columns) == 1 else tuple_(*columns)
        asked = select(table).where(key.in_(bindparam("keys", expanding=True)))
    asked = asked.order_by(*columns)
    return asked.with_for_update() if lock else asked
