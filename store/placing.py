"""Placing pipelines inside one transaction that holds the placement lock: many at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlmodel import func, select

from gamepipe.model import reason as reasons
from gamepipe.scheduling.choose import Refusal
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.rule import takes_pipelines
from gamepipe.wire import PlaceAnswer, Placement, PlaceRequest, PlaceStatus, SaveRequest, SaveStatus
from store import capacity
from store.record import load_pipelines
from store.saving import save
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

Asked = tuple[PlaceRequest, datetime]
"""A request, and the time at which it came."""


def place_all(tx: Transaction, asked: Sequence[Asked]) -> Sequence[PlaceAnswer]:
    """One after the other, in one transaction: what all need is read with one query for each table,
    and what they write is written together."""
    ids = sorted({request.pipeline_id for request, _ in asked})
    tx.preload(PipelineRow, ids)
    tx.preload(QueueEntryRow, ids)
    tx.preload(AllocationRow, [(request.pipeline_id, request.generation) for request, _ in asked])
    turn = _Turn(tx, asked[-1][1])
    return [turn.place(request, now=now) for request, now in asked]


class _Turn:
    """The requests of one transaction."""

    def __init__(self, tx: Transaction, now: datetime) -> None:
        self._tx = tx
        self._fleet = tx.fleet(now)
        self._before: int | None = tx.session.exec(select(func.max(QueueEntryRow.priority))).one()
        """The highest priority of those who wait already; None once they had their chance."""

    def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        tx, row = self._tx, self._tx.lock_pipeline(request.pipeline_id)
        ack, _ = save(tx, request.saved, now=now)
        if ack.status is SaveStatus.INCOMPLETE:
            return PlaceAnswer(status=PlaceStatus.INCOMPLETE)
        if (
            row is None
            or ack.status is not SaveStatus.SAVED
            or row.state in capacity.TERMINAL_PIPELINES
        ):
            return PlaceAnswer(status=PlaceStatus.CLOSED)
        held = self._standing(row, request.generation) or self._decide(row, request, now=now)
        if isinstance(held, Refusal):
            return self._enqueue(row, request, held, now=now)
        held.taken_at = held.taken_at or now
        capacity.leave_queue(tx, row.id)
        save(tx, _filled_in(request.placed, held.node_id), now=now)
        answer = PlaceAnswer(status=PlaceStatus.PLACED, placement=self._placement(held))
        return _with_definition(tx, row, request, answer)

    def _standing(self, row: PipelineRow, generation: int) -> AllocationRow | None:
        """What the generation holds. An offer of a node that takes nothing new is none."""
        held = self._tx.find(AllocationRow, (row.id, generation))
        if held is None or held.released_at is not None:
            return None
        fleet = self._fleet.chooser.snapshot.fleet
        if held.taken_at is not None or takes_pipelines(fleet.nodes[fleet.row_of[held.node_id]]):
            return held
        capacity.withdraw_offer(self._tx, held)
        return None

    def _decide(
        self, row: PipelineRow, request: PlaceRequest, *, now: datetime
    ) -> AllocationRow | Refusal:
        """Whoever waits before this one is served first: a newcomer never passes it."""
        if self._tx.find(QueueEntryRow, row.id) is None:
            self._fleet.learn(need_of(row.spec, row.args))
            self._offer_those_before(row, now=now)
        chooser = self._fleet.chooser
        return capacity.allocate(
            self._tx, row, request.generation, avoid=request.avoid, now=now, chooser=chooser
        )

    def _offer_those_before(self, row: PipelineRow, *, now: datetime) -> None:
        """Once for all newcomers. Offers made here are sent by the sweep; usually there are none,
        for what frees is offered in the transaction that frees it."""
        if self._before is not None and row.priority <= self._before:
            self._before = None
            capacity.offer_queue(self._tx, now=now)

    def _enqueue(
        self, row: PipelineRow, request: PlaceRequest, refusal: Refusal, *, now: datetime
    ) -> PlaceAnswer:
        tx, entry = self._tx, self._tx.find(QueueEntryRow, row.id)
        need = need_of(row.spec, row.args, avoid=request.avoid)
        waits = QueueEntryRow(
            pipeline_id=row.id,
            generation=request.generation,
            priority=row.priority,
            queued_at=entry.queued_at if entry else now,
            summary=refusal.summary,
            verdicts=capacity.explain(need, self._fleet.chooser),
            avoid=request.avoid,
        )
        tx.put(waits)
        row.reason, row.message, row.updated_at = reasons.NO_CAPACITY, refusal.summary, now
        answer = PlaceAnswer(status=PlaceStatus.QUEUED, summary=refusal.summary)
        return _with_definition(tx, row, request, answer)

    def _placement(self, held: AllocationRow) -> Placement:
        fleet = self._fleet.chooser.snapshot.fleet
        node = fleet.nodes[fleet.row_of[held.node_id]]
        return Placement(
            node_id=node.id,
            generation=held.generation,
            gpu_devices=tuple(held.gpu_devices),
            node={
                "id": node.id,
                "alias": node.alias,
                "region": node.location.region,
                "zone": node.location.zone,
                "os": node.facts.os,
                "architecture": node.facts.architecture,
            },
        )


def _filled_in(placed: SaveRequest, node_id: str) -> SaveRequest:
    """The workflow did not know the node when it wrote this."""
    events = tuple(
        replace(event, data=event.data | {"node_id": node_id}) for event in placed.events
    )
    return replace(placed, node_id=node_id, events=events)


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
