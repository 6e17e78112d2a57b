"""Placing pipelines inside one transaction that holds the placement lock: many at once."""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from gamepipe.model import reason as reasons
from gamepipe.model.record import Allocation
from gamepipe.model.spec import PipelineSpec
from gamepipe.scheduling.choose import Choice
from gamepipe.scheduling.dominance import weighed_share
from gamepipe.scheduling.need import Need, need_of
from gamepipe.scheduling.order import Line, Turns, Waiting
from gamepipe.scheduling.rule import takes_pipelines
from gamepipe.wire import (
    Notice,
    OfferMade,
    PlaceAnswer,
    Placement,
    PlaceRequest,
    PlaceStatus,
    SaveStatus,
)
from store import capacity, preemption, queue, serving
from store.record import allocation_record, load_pipelines
from store.saving import save
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

Asked = tuple[PlaceRequest, datetime]
"""A request, and the time at which it came."""
Asking = tuple[PipelineSpec, dict[str, str], tuple[str, ...]]
"""A definition, its args and the nodes that it avoids: what a need is read from."""


def place_all(tx: Transaction, asked: Sequence[Asked]) -> Sequence[PlaceAnswer]:
    """One after the other, in one transaction: what all need is read with one query for each table,
    and what they write is written together.

    They asked at the same time. So those of a higher class go first, within a class the tenants
    take turns as in the queue, and of a tenant those of a template come one after the other: they
    need the same, and that is much less to work out than for everybody something else.
    """
    ids = sorted({request.pipeline_id for request, _ in asked})
    rows = tx.preload(PipelineRow, ids)
    tx.preload(AllocationRow, [(request.pipeline_id, request.generation) for request, _ in asked])
    group = _Group(tx, asked[-1][1])
    if group.nobody_waits:
        tx.remember_absent(QueueEntryRow, ids)
    else:
        tx.preload(QueueEntryRow, ids)
    answers: dict[int, PlaceAnswer] = {}
    for number in group.in_turn([rows.get(request.pipeline_id) for request, _ in asked]):
        request, now = asked[number]
        answers[number] = group.place(request, now=now)
    return [answers[number] for number in range(len(asked))]


class _Group:
    """The requests of one transaction."""

    def __init__(self, tx: Transaction, now: datetime) -> None:
        self._tx = tx
        self._fleet = tx.fleet(now)
        self.nobody_waits = queue.is_empty(tx)
        self._notices: list[Notice] = []
        self._opened = False
        """An offer was taken that may be preempted from now on."""
        self._needed: tuple[Asking, Need] | None = None
        """By the last one that was asked for."""

    def in_turn(self, rows: Sequence[PipelineRow | None]) -> Iterator[int]:
        """Their places in the sequence, each to be placed before the next one is asked for: shares
        follow. Those of one pipeline keep their order."""
        classes: dict[int, dict[str, dict[tuple[str, str], list[int]]]] = {}
        for number, row in enumerate(rows):
            if row is None:
                yield number  # it is gone, and told so
            else:
                tenants = classes.setdefault(row.priority, {})
                templates = tenants.setdefault(row.tenant, {})
                templates.setdefault((row.template, row.name), []).append(number)
        for _, tenants in sorted(classes.items(), reverse=True):
            yield from self._by_share(
                {name: deque(chain(*some.values())) for name, some in tenants.items()}
            )

    def _by_share(self, tenants: Mapping[str, deque[int]]) -> Iterator[int]:
        """The tenant is next that holds the least for its weight, of equal ones the one that asks
        for the fewest."""

        def turn(name: str) -> tuple[float, int, str]:
            fleet = self._fleet.chooser.snapshot.fleet
            return weighed_share(name, fleet, self._tx.order), len(tenants[name]), name

        if len(tenants) == 1:
            yield from chain(*tenants.values())
            return
        turns = [turn(name) for name in tenants]
        heapq.heapify(turns)
        while turns:
            _, _, name = heapq.heappop(turns)
            yield tenants[name].popleft()
            if tenants[name]:
                heapq.heappush(turns, turn(name))

    def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        answer, made, self._notices = self._place(request, now=now), self._notices, []
        if not made and not answer.notices:
            return answer
        notices = dict.fromkeys((*made, *answer.notices))  # some are of this very pass
        return replace(
            answer, notices=tuple(one for one in notices if not _is_answer(one, request))
        )

    def _place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        tx, row = self._tx, self._tx.lock_pipeline(request.pipeline_id)
        ack, freed = save(tx, request.saved, now=now)
        self._notices += freed
        if ack.status is SaveStatus.INCOMPLETE:
            return PlaceAnswer(status=PlaceStatus.INCOMPLETE)
        if (
            row is None
            or ack.status is not SaveStatus.SAVED
            or row.state in capacity.TERMINAL_PIPELINES
        ):
            return PlaceAnswer(status=PlaceStatus.CLOSED)
        if tx.fleet_changed:  # a run that took the row over let go of what another one held
            self._fleet, self.nobody_waits = tx.fleet(now), queue.is_empty(tx)
        generation = request.generation
        held = self._standing(row, generation, now=now) or self._decide(row, request, now=now)
        if isinstance(held, PlaceAnswer):
            return held
        capacity.dequeue(tx, row.id)
        save(tx, request.placed, now=now, chosen=held.node_id)
        if self._opened:
            self._serve_above(held.priority, now=now)
        answer = PlaceAnswer(status=PlaceStatus.PLACED, placement=self._placement(held))
        return _with_definition(tx, row, request, answer)

    def _standing(self, row: PipelineRow, generation: int, *, now: datetime) -> Allocation | None:
        """What the generation holds; an offer is taken. One of a node that takes nothing new is
        none."""
        held = self._tx.find(AllocationRow, (row.id, generation))
        if held is None or held.released_at is not None:
            return None
        fleet = self._fleet.chooser.snapshot.fleet
        if held.taken_at is not None or takes_pipelines(fleet.nodes[fleet.row_of[held.node_id]]):
            self._opened = held.taken_at is None and held.preemptible
            held.taken_at = held.taken_at or now
            return allocation_record(held)
        capacity.withdraw_offer(self._tx, held)
        self.nobody_waits = False
        return None

    def _decide(
        self, row: PipelineRow, request: PlaceRequest, *, now: datetime
    ) -> Allocation | PlaceAnswer:
        """Whoever waits before this one is served first: a newcomer never passes it, nor takes a
        node that is reserved. Usually nobody is, for what frees is offered in the transaction
        that frees it."""
        tx, entry = self._tx, self._tx.find(QueueEntryRow, row.id)
        need = self._need_of(row.spec, row.args, request.avoid)
        waits = entry is not None and entry.generation == request.generation
        freed = not waits and capacity.leave_queue(tx, row.id, now=now)
        if not waits:
            self._fleet.learn(need)
        turns = self._serve(None if waits or freed else row.priority, now=now)
        held = self._standing(row, request.generation, now=now) if waits else None
        queued_at = (
            entry.queued_at
            if entry
            else preemption.queued_since(tx, row.id, request.generation, now=now)
        )
        waiting = Waiting(pipeline_id=row.id, generation=request.generation, queued_at=queued_at)
        decided = held or self._decide_behind(row, request, turns, need, waiting, now=now)
        turns.lift()
        return decided

    def _need_of(self, spec: PipelineSpec, args: dict[str, str], avoid: tuple[str, ...]) -> Need:
        """Those of a template come one after the other, and need the same."""
        asked = spec, args, avoid
        if self._needed is None or self._needed[0] != asked:
            self._needed = asked, need_of(spec, args, avoid=avoid)
        return self._needed[1]

    def _serve(self, least: int | None, *, now: datetime) -> Turns:
        """Those before, if there are any."""
        tx, chooser = self._tx, self._fleet.chooser
        if self.nobody_waits:
            preemption.call_off(tx, chooser.snapshot.fleet)
            return Turns([], chooser, tx.order, now=now, labelled=queue.labelled(tx))
        served = serving.serve_queue(tx, chooser, now=now, least=least)
        self._notices += served.notices
        return served.turns

    def _serve_above(self, priority: int, *, now: datetime) -> None:
        """One of a higher class may have waited until that offer was taken."""
        self._opened = False
        if not queue.is_empty(self._tx):
            self._fleet, self.nobody_waits = self._tx.fleet(now), False
            self._serve(priority + 1, now=now).lift()

    def _decide_behind(
        self,
        row: PipelineRow,
        request: PlaceRequest,
        turns: Turns,
        need: Need,
        waiting: Waiting,
        *,
        now: datetime,
    ) -> Allocation | PlaceAnswer:
        tx, labels = self._tx, queue.labels_of(self._tx, row.id)
        newcomer = Line(priority=row.priority, need=need, labels=labels, head=waiting)
        answer = turns.place(newcomer)
        if isinstance(answer, Choice):
            return serving.allocate(
                tx, row, waiting, need, answer, now=now, chooser=turns.chooser, taken=True
            )
        if answer.reason != reasons.LIMIT_REACHED:
            answer = turns.make_room(newcomer)
            preemption.ask(tx, turns, now=now)
        verdicts = serving.explain(turns, newcomer, answer)
        queue.put(tx, row, newcomer.head, avoid=request.avoid, why=answer, verdicts=verdicts)
        self.nobody_waits = False
        row.updated_at = now
        queued = PlaceAnswer(
            status=PlaceStatus.QUEUED,
            summary=answer.summary,
            reason=answer.reason,
            notices=preemption.asked(turns.chooser.snapshot.fleet, row.id),
        )
        return _with_definition(tx, row, request, queued)

    def _placement(self, held: Allocation) -> Placement:
        fleet = self._fleet.chooser.snapshot.fleet
        node = fleet.nodes[fleet.row_of[held.node_id]]
        return Placement(
            node_id=node.id,
            generation=held.generation,
            gpu_devices=held.gpu_devices,
            node={
                "id": node.id,
                "alias": node.alias,
                "region": node.location.region,
                "zone": node.location.zone,
                "os": node.facts.os,
                "architecture": node.facts.architecture,
            },
        )


def _is_answer(notice: Notice, request: PlaceRequest) -> bool:
    """An offer to whoever asks needs no signal."""
    return isinstance(notice, OfferMade) and notice.pipeline_id == request.pipeline_id


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
