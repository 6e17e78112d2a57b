"""Placements: one transaction under the lock reads what is live, decides and writes."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import col, select

from gamepipe.model.record import Allocation, QueueEntry
from gamepipe.ports import OfferMade
from gamepipe.wire import PlaceAnswer, PlaceRequest, WithdrawRequest
from store import capacity
from store.database import Database
from store.groupcommit import GroupCommit
from store.placing import Asked, place_all
from store.record import allocation_record, queue_record
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

AT_ONCE = 64
"""Requests that share one transaction at most."""


class PlacementStore:
    """See `gamepipe.ports.PlacementRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: GroupCommit[Asked, PlaceAnswer] = GroupCommit(self._place, at_once=AT_ONCE)

    async def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        return await self._asked.add((request, now))

    async def _place(self, asked: Sequence[Asked]) -> Sequence[PlaceAnswer]:
        return await self._database.write(lambda tx: place_all(tx, asked), placing=True)

    async def withdraw(self, request: WithdrawRequest, *, now: datetime) -> tuple[OfferMade, ...]:
        def work(tx: Transaction) -> tuple[OfferMade, ...]:
            row = tx.lock_pipeline(request.pipeline_id)
            if row is None or row.incarnation != request.incarnation:
                return ()
            entry = tx.session.get(QueueEntryRow, request.pipeline_id)
            waits = entry is not None and entry.generation == request.generation
            reserved = waits and capacity.leave_queue(tx, request.pipeline_id, now=now)
            freed = capacity.release(tx, request.pipeline_id, request.generation, now=now)
            return freed or (capacity.offer_queue(tx, now=now) if reserved else ())

        return await self._database.write(work, placing=True)

    async def release(
        self, pipeline_id: str, generation: int, *, now: datetime
    ) -> tuple[OfferMade, ...]:
        return await self._database.write(
            lambda tx: capacity.release(tx, pipeline_id, generation, now=now), placing=True
        )

    async def offer(self, *, now: datetime, telling: bool = False) -> tuple[OfferMade, ...]:
        waits = select(QueueEntryRow.pipeline_id).limit(1)
        if await self._database.read(lambda session: session.exec(waits).first()) is None:
            return ()
        return await self._database.write(
            lambda tx: capacity.offer_queue(tx, now=now, telling=telling), placing=True
        )

    async def untaken_offers(self) -> tuple[OfferMade, ...]:
        query = (
            select(AllocationRow)
            .where(col(AllocationRow.taken_at).is_(None), col(AllocationRow.released_at).is_(None))
            .order_by(col(AllocationRow.created_at))
        )
        return await self._database.read(
            lambda session: tuple(
                OfferMade(
                    pipeline_id=row.pipeline_id, generation=row.generation, node_id=row.node_id
                )
                for row in session.exec(query)
            )
        )

    async def live_allocations(self) -> tuple[Allocation, ...]:
        query = select(AllocationRow).where(col(AllocationRow.released_at).is_(None))
        return await self._database.read(
            lambda session: tuple(allocation_record(row) for row in session.exec(query))
        )

    async def queue(self) -> tuple[QueueEntry, ...]:
        query = select(QueueEntryRow).order_by(
            col(QueueEntryRow.priority).desc(), col(QueueEntryRow.queued_at)
        )
        return await self._database.read(
            lambda session: tuple(queue_record(row) for row in session.exec(query))
        )

    async def queue_entry(self, pipeline_id: str) -> QueueEntry | None:
        row = await self._database.read(lambda session: session.get(QueueEntryRow, pipeline_id))
        return None if row is None else queue_record(row)

    async def live_pipelines_on(self, node_id: str) -> tuple[tuple[str, int], ...]:
        query = (
            select(AllocationRow.pipeline_id, AllocationRow.generation)
            .join(PipelineRow, col(PipelineRow.id) == col(AllocationRow.pipeline_id))
            .where(
                AllocationRow.node_id == node_id,
                col(AllocationRow.released_at).is_(None),
                col(PipelineRow.state).not_in(capacity.TERMINAL_PIPELINES),
            )
        )
        return await self._database.read(
            lambda session: tuple((row[0], row[1]) for row in session.exec(query))
        )
