"""Serving the queue inside a transaction that holds the placement lock: turns become offers."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from gamepipe.model.record import Allocation, Verdict
from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice, OfferMade
from gamepipe.scheduling.choose import RESERVED, Choice, Chooser, Refusal
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting
from store import preemption, queue
from store.record import allocation_values
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

VERDICTS_KEPT = 50
"""Nodes of which a waiting pipeline says why not; its summary counts them all."""


def explain(turns: Turns, line: Line, why: Refusal) -> tuple[Verdict, ...]:
    """Why the first nodes do not fit, and all that are kept for others; nothing where the nodes are
    not why."""
    found = turns.verdicts(line) if why.counts else ()
    reserved = (verdict for verdict in found[VERDICTS_KEPT:] if verdict.code == RESERVED)
    return found[:VERDICTS_KEPT] + tuple(reserved)


def allocate(
    tx: Transaction,
    row: PipelineRow,
    waiting: Waiting,
    need: Need,
    choice: Choice,
    *,
    now: datetime,
    chooser: Chooser,
    taken: bool = False,
) -> Allocation:
    """Hold a node for a generation: an offer for one who waits; who asks takes it at once."""
    held = Allocation(
        pipeline_id=row.id,
        generation=waiting.generation,
        node_id=choice.node_id,
        resources=need.resources,
        gpu_devices=choice.gpu_devices,
        host_ports=need.host_ports,
        tenant=need.tenant,
        template=need.template,
        priority=row.priority,
        preemptible=need.placement.preemptible,
        created_at=now,
        taken_at=now if taken else None,
        queued_at=waiting.queued_at,
    )
    besides = {
        "avoid": need.avoid,
        "explanation": chooser.explain_last(),
        "preempted_at": None,  # a released row, of a run that was reset, is replaced
        "revision": tx.fleet_revision(told=True),
    }
    tx.put_row(AllocationRow, allocation_values(held) | besides)
    chooser.snapshot.fleet.hold(held)
    return held


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a pass over the queue came to."""

    turns: Turns
    notices: tuple[Notice, ...]
    """To those who got a node, and to those who are to make room."""


def tell_refused(tx: Transaction, turns: Turns) -> None:
    """Whoever got nothing hears why, as things are now."""
    for line in turns.refused:
        why = turns.place(line)
        if isinstance(why, Refusal):
            queue.tell(tx, line, why, partial(explain, turns, line, why))


def serve_queue(
    tx: Transaction, chooser: Chooser, *, now: datetime, least: int | None = None
) -> Served:
    """One pass over all entries, or over those of at least that priority."""
    preemption.call_off(tx, chooser.snapshot.fleet)
    lines = [] if queue.is_empty(tx) else queue.lines(tx, least=least)
    turns = Turns(
        lines,
        chooser,
        tx.order,
        now=now,
        labelled=queue.labelled(tx),
        claims=preemption.claims(tx.session, chooser.snapshot.fleet, tx.vacated) if lines else (),
    )
    made = [_offer(tx, grant, chooser, now=now) for grant in turns]
    offers = tuple(offer for offer in made if offer is not None)
    asked = preemption.ask(tx, turns, now=now)
    tx.session.flush()
    return Served(turns=turns, notices=offers + asked)


def _offer(tx: Transaction, grant: Grant, chooser: Chooser, *, now: datetime) -> OfferMade | None:
    waiting, need = grant.waiting, grant.line.need
    tx.session.delete(tx.session.get_one(QueueEntryRow, waiting.pipeline_id))
    row = tx.session.get_one(PipelineRow, waiting.pipeline_id)
    if PipelineState(row.state).is_terminal:
        return None
    held = allocate(
        tx,
        row,
        waiting,
        need,
        grant.choice,
        now=now,
        chooser=chooser,
    )
    return OfferMade(pipeline_id=row.id, generation=waiting.generation, node_id=held.node_id)
