"""Placements: one transaction under the lock reads what is live, decides and writes."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlmodel import col, select

from gamepipe.model import reason as reasons
from gamepipe.model.forecast import Forecast
from gamepipe.model.record import Allocation, QueueEntry, Verdict
from gamepipe.model.spec import PipelineSpec
from gamepipe.ports import OfferMade
from gamepipe.scheduling.choose import Refusal
from gamepipe.scheduling.forecast import forecast
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.rule import takes_pipelines
from gamepipe.wire import (
    PlaceAnswer,
    Placement,
    PlaceRequest,
    PlaceStatus,
    SaveRequest,
    SaveStatus,
    WithdrawRequest,
)
from store import capacity
from store.database import Database
from store.planning import present
from store.record import allocation_record, load_nodes, load_pipelines, queue_record
from store.saving import save
from store.table import AllocationRow, NodeRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction


class PlacementStore:
    """See `gamepipe.ports.PlacementRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        return await self._database.write(lambda tx: _place(tx, request, now=now), placing=True)

    async def withdraw(self, request: WithdrawRequest, *, now: datetime) -> tuple[OfferMade, ...]:
        def work(tx: Transaction) -> tuple[OfferMade, ...]:
            row = tx.lock_pipeline(request.pipeline_id)
            if row is None or row.incarnation != request.incarnation:
                return ()
            entry = tx.session.get(QueueEntryRow, request.pipeline_id)
            if entry is not None and entry.generation == request.generation:
                capacity.leave_queue(tx, request.pipeline_id)
            return capacity.release(tx, request.pipeline_id, request.generation, now=now)

        return await self._database.write(work, placing=True)

    async def release(
        self, pipeline_id: str, generation: int, *, now: datetime
    ) -> tuple[OfferMade, ...]:
        return await self._database.write(
            lambda tx: capacity.release(tx, pipeline_id, generation, now=now), placing=True
        )

    async def offer(self, *, now: datetime) -> tuple[OfferMade, ...]:
        if not await self.queue():
            return ()
        return await self._database.write(
            lambda tx: capacity.offer_queue(tx, now=now), placing=True
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

    async def forecast(
        self,
        spec: PipelineSpec,
        args: Mapping[str, str],
        *,
        count: int = 1,
        avoid: tuple[str, ...] = (),
    ) -> Forecast:
        need, policy = need_of(spec, args, avoid=avoid), self._database.policy
        snapshot = await self._database.read(lambda session: present(session, policy))
        return await asyncio.to_thread(forecast, need, snapshot, count=count)

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


def _place(tx: Transaction, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
    row = tx.lock_pipeline(request.pipeline_id)
    ack, _ = save(tx, request.saved, now=now)
    if ack.status is SaveStatus.INCOMPLETE:
        return PlaceAnswer(status=PlaceStatus.INCOMPLETE)
    if (
        row is None
        or ack.status is not SaveStatus.SAVED
        or row.state in capacity.TERMINAL_PIPELINES
    ):
        return PlaceAnswer(status=PlaceStatus.CLOSED)
    held = _standing(tx, row, request.generation)
    if held is None:
        held_or_why_not = _decide(tx, row, request, now=now)
        if isinstance(held_or_why_not, tuple):
            return _enqueue(tx, row, request, *held_or_why_not, now=now)
        held = held_or_why_not
    held.taken_at = held.taken_at or now
    capacity.leave_queue(tx, row.id)
    save(tx, _filled_in(request.placed, held.node_id), now=now)
    placement = _placement(tx, held)
    return _with_definition(
        tx, row, request, PlaceAnswer(status=PlaceStatus.PLACED, placement=placement)
    )


def _standing(tx: Transaction, row: PipelineRow, generation: int) -> AllocationRow | None:
    """What the generation holds. An offer of a node that takes nothing new any more is none."""
    held = tx.session.get(AllocationRow, (row.id, generation))
    if held is None or held.released_at is not None:
        return None
    if held.taken_at is not None:
        return held
    nodes = load_nodes(tx.session, held.node_id)
    if any(takes_pipelines(node) for node in nodes):
        return held
    capacity.withdraw_offer(tx, held)
    return None


def _decide(
    tx: Transaction, row: PipelineRow, request: PlaceRequest, *, now: datetime
) -> AllocationRow | tuple[Refusal, tuple[Verdict, ...]]:
    """Whoever waits before this one is served first: a newcomer never passes it."""
    if tx.session.get(QueueEntryRow, row.id) is None:
        _offer_those_before(tx, row, now=now)
    chooser = capacity.load_chooser(tx.session, tx.policy)
    held = capacity.allocate(
        tx, row, request.generation, avoid=request.avoid, now=now, chooser=chooser
    )
    if not isinstance(held, Refusal):
        return held
    return held, capacity.explain(need_of(row.spec, row.args, avoid=request.avoid), chooser)


def _offer_those_before(tx: Transaction, row: PipelineRow, *, now: datetime) -> None:
    """Offers made here are sent by the sweep; usually there are none, for what frees is offered
    in the transaction that frees it."""
    ahead = select(QueueEntryRow.pipeline_id).where(QueueEntryRow.priority >= row.priority)
    if tx.session.exec(ahead).first() is not None:
        capacity.offer_queue(tx, now=now)


def _enqueue(
    tx: Transaction,
    row: PipelineRow,
    request: PlaceRequest,
    refusal: Refusal,
    verdicts: tuple[Verdict, ...],
    *,
    now: datetime,
) -> PlaceAnswer:
    entry = tx.session.get(QueueEntryRow, row.id)
    tx.session.merge(
        QueueEntryRow(
            pipeline_id=row.id,
            generation=request.generation,
            priority=row.priority,
            queued_at=entry.queued_at if entry else now,
            summary=refusal.summary,
            verdicts=verdicts,
            avoid=request.avoid,
        )
    )
    row.reason, row.message, row.updated_at = reasons.NO_CAPACITY, refusal.summary, now
    answer = PlaceAnswer(status=PlaceStatus.QUEUED, summary=refusal.summary)
    return _with_definition(tx, row, request, answer)


def _filled_in(placed: SaveRequest, node_id: str) -> SaveRequest:
    """The workflow did not know the node when it wrote this."""
    events = tuple(
        replace(event, data=event.data | {"node_id": node_id}) for event in placed.events
    )
    return replace(placed, node_id=node_id, events=events)


def _placement(tx: Transaction, held: AllocationRow) -> Placement:
    node = tx.session.get(NodeRow, held.node_id)
    facts = {"id": held.node_id}
    if node is not None:
        facts |= {
            "alias": node.alias,
            "region": node.location.region,
            "zone": node.location.zone,
            "os": node.facts.os,
            "architecture": node.facts.architecture,
        }
    return Placement(
        node_id=held.node_id,
        generation=held.generation,
        gpu_devices=tuple(held.gpu_devices),
        node=facts,
    )


def _with_definition(
    tx: Transaction, row: PipelineRow, request: PlaceRequest, answer: PlaceAnswer
) -> PlaceAnswer:
    if row.definition_revision == request.definition_revision:
        return answer
    tx.session.flush()
    (record,) = load_pipelines(tx.session, [row])
    return replace(
        answer,
        definition=record.spec,
        definition_revision=record.definition_revision,
        args=record.args,
        env_names=record.env_names,
        secret_names=record.secret_names,
    )
