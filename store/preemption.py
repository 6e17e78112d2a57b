"""Preemption inside a transaction that holds the placement lock: who was asked to make room."""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session, col, func, select

from gamepipe.model.record import Allocation
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.order import Turns
from gamepipe.scheduling.preemption import Claim
from gamepipe.wire import RoomAsked
from store.table import AllocationRow, QueueEntryRow
from store.transaction import Transaction

_NOTHING: Mapping[str, str] = {}


def claims(session: Session, fleet: Fleet, vacated: Mapping[str, str] = _NOTHING) -> list[Claim]:
    """Of those that wait, for whom room is made, or was made in this transaction."""
    leaving = fleet.preemptibles.leaving
    rooms = {leaving[key].preempted_for: leaving[key].node_id for key in sorted(leaving)}
    rooms |= vacated
    if not rooms:
        return []
    waiting = select(QueueEntryRow).where(col(QueueEntryRow.pipeline_id).in_(rooms))
    oldest_first = waiting.order_by(col(QueueEntryRow.queued_at), col(QueueEntryRow.pipeline_id))
    return [
        Claim(
            pipeline_id=entry.pipeline_id,
            generation=entry.generation,
            priority=entry.priority,
            need=entry.need,
            node_id=rooms[entry.pipeline_id],
        )
        for entry in session.exec(oldest_first)
        if entry.need is not None
    ]


def ask(tx: Transaction, turns: Turns, *, now: datetime) -> tuple[RoomAsked, ...]:
    """Write down whom the pass chose: each is chosen once, and told again until it has left."""
    chosen = []
    for preemption in turns.preemptions:
        for key in preemption.victims:
            victim = tx.session.get_one(AllocationRow, key)
            victim.preempted_for, victim.preempted_at = preemption.pipeline_id, now
            chosen.append(room_asked(victim))
    turns.preemptions.clear()
    return tuple(chosen)


def is_under_way(tx: Transaction, *, now: datetime) -> bool:
    """Whether anybody has yet to leave: then what others left already is kept for somebody."""
    return bool(tx.fleet(now).chooser.snapshot.fleet.preemptibles.leaving)


def asked(fleet: Fleet, for_: str) -> tuple[RoomAsked, ...]:
    """Those that have yet to leave for one that waits."""
    leaving = sorted(fleet.preemptibles.leaving.items())
    return tuple(room_asked(one) for _, one in leaving if one.preempted_for == for_)


def room_asked(allocation: Allocation | AllocationRow) -> RoomAsked:
    return RoomAsked(
        pipeline_id=allocation.pipeline_id,
        generation=allocation.generation,
        node_id=allocation.node_id,
        for_pipeline=allocation.preempted_for,
    )


def spare(tx: Transaction, pipeline_id: str, generation: int) -> bool:
    """A service of it is up: somebody plays, and nobody may take its place from now on. Whether one
    that waits counted on it, and needs other room."""
    held = tx.find(AllocationRow, (pipeline_id, generation))
    if held is None or not held.preemptible:
        return False
    tx.hold_placement_lock()
    counted_on = bool(held.preempted_for)
    held.preemptible, held.preempted_for, held.preempted_at = False, "", None
    return counted_on


def queued_since(tx: Transaction, pipeline_id: str, generation: int, *, now: datetime) -> datetime:
    """The place in the queue of one that did not wait until now: whoever was preempted has the one
    that it had before."""
    if generation <= 1:
        return now
    since = func.min(func.coalesce(AllocationRow.queued_at, AllocationRow.created_at))
    earlier = select(since).where(
        AllocationRow.pipeline_id == pipeline_id,
        AllocationRow.generation < generation,
        col(AllocationRow.preempted_at).is_not(None),
    )
    return tx.session.exec(earlier).one() or now
