"""Placements: one transaction under the lock reads what is live, decides and writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlmodel import Session, col, select

from gamepipe.groupcommit import GroupCommit
from gamepipe.model.forecast import Forecast
from gamepipe.model.record import Allocation, QueueEntry
from gamepipe.model.spec import PipelineSpec
from gamepipe.ports import Notice, OfferMade
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.forecast import forecast, newcomer, outlook
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.present import Present
from gamepipe.wire import PlaceAnswer, PlaceRequest, RoomAsked, WithdrawRequest
from store import capacity, queue
from store.database import Database
from store.orphan import orphans
from store.placing import Asked, place_all
from store.planning import present
from store.preemption import MAY_HEAR, NEEDED, room_asked
from store.record import allocation_record, queue_record
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

T = TypeVar("T")
AT_ONCE = 256
"""Requests that share one transaction at most."""
REPORTS_AT_ONCE = 10_000
"""Reports of latencies that share one look at the queue."""
Nearer = tuple[frozenset[str], datetime]


class PlacementStore:
    """See `gamepipe.ports.PlacementRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: GroupCommit[Asked, PlaceAnswer] = GroupCommit(
            self._place, at_once=AT_ONCE, key=lambda asked: asked[0].pipeline_id
        )
        self._nearer: GroupCommit[Nearer, tuple[Notice, ...]] = GroupCommit(
            self._offer_nearer, at_once=REPORTS_AT_ONCE
        )

    async def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        return await self._asked.add((request, now))

    async def _place(self, asked: Sequence[Asked]) -> Sequence[PlaceAnswer]:
        return await self._database.write(lambda tx: place_all(tx, asked), placing=True)

    async def withdraw(self, request: WithdrawRequest, *, now: datetime) -> tuple[Notice, ...]:
        def work(tx: Transaction) -> tuple[Notice, ...]:
            row = tx.lock_pipeline(request.pipeline_id)
            if row is None or row.incarnation != request.incarnation:
                return ()
            entry = tx.session.get(QueueEntryRow, request.pipeline_id)
            waits = entry is not None and entry.generation == request.generation
            kept = waits and capacity.leave_queue(tx, request.pipeline_id, now=now)
            freed = capacity.release(tx, request.pipeline_id, request.generation, now=now)
            return freed or (capacity.offer_queue(tx, now=now) if kept else ())

        return await self._database.write(work, placing=True)

    async def release(
        self, pipeline_id: str, generation: int, *, now: datetime
    ) -> tuple[Notice, ...]:
        return await self._database.write(
            lambda tx: capacity.release(tx, pipeline_id, generation, now=now), placing=True
        )

    async def reconcile(self, *, now: datetime) -> tuple[tuple[str, int], ...]:
        if not await self._database.read(orphans):
            return ()

        def work(tx: Transaction) -> tuple[tuple[str, int], ...]:
            found = orphans(tx.session)
            for pipeline_id, generation in found:
                capacity.release(tx, pipeline_id, generation, now=now)
            return tuple(found)

        return await self._database.write(work, placing=True)

    async def offer(self, *, now: datetime, telling: bool = False) -> tuple[Notice, ...]:
        waits = select(QueueEntryRow.pipeline_id).limit(1)
        if await self._database.read(lambda session: session.exec(waits).first()) is None:
            return ()
        return await self._database.write(
            lambda tx: capacity.offer_queue(tx, now=now, telling=telling), placing=True
        )

    async def offer_nearer(self, regions: Collection[str], *, now: datetime) -> tuple[Notice, ...]:
        return await self._nearer.add((frozenset(regions), now)) if regions else ()

    async def _offer_nearer(self, asked: Sequence[Nearer]) -> Sequence[tuple[Notice, ...]]:
        """What comes of it is told to the first: each notice is sent once."""
        regions = frozenset().union(*(regions for regions, _ in asked))
        waits = await self._database.read(lambda session: queue.waits_for(session, regions))
        notices = await self.offer(now=asked[-1][1]) if waits else ()
        return [notices, *(() for _ in asked[1:])]

    async def outstanding(self) -> tuple[Notice, ...]:
        return await self.untaken_offers() + await self.asked_for_room()

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

    async def asked_for_room(self, for_pipeline: str = "") -> tuple[RoomAsked, ...]:
        query = (
            select(AllocationRow)
            .where(AllocationRow.preempted_for != "", col(AllocationRow.released_at).is_(None))
            .order_by(col(AllocationRow.preempted_at), col(AllocationRow.pipeline_id))
        )
        if for_pipeline:
            query = query.where(AllocationRow.preempted_for == for_pipeline)
        else:
            query = query.join(PipelineRow, col(PipelineRow.id) == col(AllocationRow.pipeline_id))
            query = query.where(*MAY_HEAR, NEEDED.exists())
        return await self._database.read(
            lambda session: tuple(room_asked(row) for row in session.exec(query))
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

    async def forecast(
        self,
        spec: PipelineSpec,
        args: Mapping[str, str],
        *,
        now: datetime,
        count: int = 1,
        created: bool = False,
    ) -> Forecast:
        def work(found: Present) -> Forecast:
            labels = spec.labels.items()
            line = newcomer(need_of(spec, args), found, priority=spec.priority, labels=labels)
            return forecast(line, found, count=count)

        return await self._ask(work, now=now, newcomer="" if created else spec.tenant)

    async def outlook(self, pipeline_id: str, *, now: datetime) -> Forecast | None:
        return await self._ask(partial(outlook, pipeline_id), now=now)

    async def _ask(self, work: Callable[[Present], T], *, now: datetime, newcomer: str = "") -> T:
        """What `work` finds out about things as they are."""
        order = self._database.order

        def ask(session: Session, chooser: Chooser) -> T:
            return work(present(session, chooser, order, now=now, newcomer=newcomer))

        return await self._database.ask(ask, now=now)

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
