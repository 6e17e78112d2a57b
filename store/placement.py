"""Placements: one transaction under the lock reads what is live, decides and writes."""

from dataclasses import replace
from datetime import datetime

from sqlmodel import col, select

from gamepipe.model.record import Allocation, QueueEntry
from gamepipe.ports import OfferMade
from gamepipe.scheduling.choose import Choice
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.order import Line, Turns, Waiting
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
from store import capacity, queue, serving
from store.database import Database
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
        decided = _decide(tx, row, request, now=now)
        if isinstance(decided, PlaceAnswer):
            return decided
        held = decided
    held.taken_at = held.taken_at or now
    capacity.leave_queue(tx, row.id, now=now)
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
) -> AllocationRow | PlaceAnswer:
    """Whoever waits before this one is served first: a newcomer never passes it, nor takes a node
    that is reserved. Offers made here are sent by the sweep; usually there are none, for what frees
    is offered in the transaction that frees it."""
    entry = tx.session.get(QueueEntryRow, row.id)
    waits = entry is not None and entry.generation == request.generation
    if not waits:
        capacity.leave_queue(tx, row.id, now=now)
    chooser = capacity.load_chooser(tx.session)
    least = None if waits else row.priority
    turns = serving.serve_queue(tx, chooser, now=now, least=least).turns
    held = _standing(tx, row, request.generation) if waits else None
    queued_at = entry.queued_at if entry else now
    decided = held or _decide_behind(tx, row, request, turns, queued_at=queued_at, now=now)
    turns.lift()
    return decided


def _decide_behind(
    tx: Transaction,
    row: PipelineRow,
    request: PlaceRequest,
    turns: Turns,
    *,
    queued_at: datetime,
    now: datetime,
) -> AllocationRow | PlaceAnswer:
    need = need_of(row.spec, row.args, avoid=request.avoid)
    newcomer = Line(
        priority=row.priority,
        need=need,
        labels=queue.labels_of(tx, row.id),
        head=Waiting(pipeline_id=row.id, generation=request.generation, queued_at=queued_at),
    )
    answer = turns.place(newcomer)
    if isinstance(answer, Choice):
        return serving.allocate(
            tx, row, request.generation, need, answer, now=now, chooser=turns.chooser
        )
    verdicts = serving.explain(turns, newcomer, answer)
    queue.put(tx, row, newcomer.head, avoid=request.avoid, why=answer, verdicts=verdicts)
    row.updated_at = now
    queued = PlaceAnswer(status=PlaceStatus.QUEUED, summary=answer.summary, reason=answer.reason)
    return _with_definition(tx, row, request, queued)


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
