"""Events, in the order in which they were committed."""

from datetime import datetime

from sqlmodel import col, delete, func, select

from gamepipe.model.record import EventKind, StoredEvent
from store.database import Database
from store.record import event_record
from store.table import EventRow
from store.transaction import Transaction


class EventStore:
    """See `gamepipe.ports.EventRepository`. Ids commit in order (see `store.transaction`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self,
        *,
        after_id: int = 0,
        pipeline_id: str = "",
        kinds: tuple[EventKind, ...] = (),
        limit: int = 1000,
    ) -> tuple[StoredEvent, ...]:
        query = select(EventRow).where(col(EventRow.id) > after_id)
        if pipeline_id:
            query = query.where(EventRow.pipeline_id == pipeline_id)
        if kinds:
            query = query.where(col(EventRow.kind).in_([kind.value for kind in kinds]))
        query = query.order_by(col(EventRow.id)).limit(limit)
        return await self._database.read(
            lambda session: tuple(event_record(row) for row in session.exec(query))
        )

    async def cleanup(self, *, before: datetime, limit: int) -> int:
        return await self._database.write(lambda tx: _remove(tx, before, limit))

    async def last_id(self) -> int:
        query = select(func.max(EventRow.id))
        return await self._database.read(lambda session: session.exec(query).one()) or 0


def _remove(tx: Transaction, before: datetime, limit: int) -> int:
    """From the front only: ids follow the time closely, so no index over times is needed."""
    front = select(EventRow.id, EventRow.at).order_by(col(EventRow.id)).limit(limit)
    ids = [number for number, at in tx.session.exec(front) if at < before]
    tx.session.connection().execute(delete(EventRow).where(col(EventRow.id).in_(ids)))
    return len(ids)
