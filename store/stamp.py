"""Gives the rows that placements depend on the number of the transaction that changes them."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import event, inspect
from sqlmodel import Session, SQLModel

from store.table import AllocationRow, InstanceRow, NodeRow, StopOrderRow
from store.transaction import Transaction

_OF_NODE = ("facts", "alias", "labels", "location", "state", "connectivity")


def stamp_changes(transaction: Transaction) -> None:
    """From now on every flush of the transaction's session stamps what it writes."""

    def stamp(session: Session, *_: Any) -> None:
        with session.no_autoflush:
            for row in list(_changed(session)):
                row.revision = transaction.fleet_revision()

    event.listen(transaction.session, "before_flush", stamp)


def _changed(session: Session) -> Iterator[NodeRow | AllocationRow]:
    for row in session.new | session.dirty | session.deleted:
        if isinstance(row, AllocationRow):
            if row in session.new or row in session.deleted or _differs(row):
                yield row
        elif isinstance(row, NodeRow) and (row in session.new or _differs(row, *_OF_NODE)):
            yield row
        elif _owes(row, session) and (node := session.get(NodeRow, row.node_id)):
            yield node


def _owes(row: SQLModel, session: Session) -> bool:
    """Whether the row changes what a node has yet to confirm, or to account for."""
    if isinstance(row, StopOrderRow):
        return row in session.new or row in session.deleted
    return isinstance(row, InstanceRow) and _differs(row, "unaccounted")


def _differs(row: SQLModel, *names: str) -> bool:
    attributes = inspect(row).attrs
    return any(attributes[name].history.has_changes() for name in names or attributes.keys())
