"""Preemption inside a transaction that holds the placement lock: who was asked to make room."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlmodel import Session, col, func, select

from gamepipe.model import reason as reasons
from gamepipe.model.record import Allocation
from gamepipe.model.state import PipelineState
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.order import Turns
from gamepipe.scheduling.preemptible import Key
from gamepipe.scheduling.preemption import Claim, rooms
from gamepipe.wire import RoomAsked
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

MAY_HEAR = (
    col(PipelineRow.generation) == col(AllocationRow.generation),
    col(PipelineRow.state) == PipelineState.RUNNING.value,
)
"""Of a pipeline and its allocation: its run is still where it is to make room."""
NEEDED = select(QueueEntryRow.pipeline_id).where(
    QueueEntryRow.pipeline_id == AllocationRow.preempted_for
)
"""Whether the one that it is to make room for still waits."""
_NOTHING: Mapping[str, str] = {}


def claims(session: Session, fleet: Fleet, vacated: Mapping[str, str] = _NOTHING) -> list[Claim]:
    """Of those that wait, for whom room is made, or was made in this transaction."""
    made = rooms(fleet, vacated)
    if not made:
        return []
    waiting = select(QueueEntryRow).where(col(QueueEntryRow.pipeline_id).in_(made))
    oldest_first = waiting.order_by(col(QueueEntryRow.queued_at), col(QueueEntryRow.pipeline_id))
    return [
        Claim(
            pipeline_id=entry.pipeline_id,
            generation=entry.generation,
            priority=entry.priority,
            need=entry.need,
            node_id=made[entry.pipeline_id],
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


def call_off(tx: Transaction, fleet: Fleet) -> None:
    """Who is needed no more stays, as long as its row does not say that it stops: the one that
    asked is out of the queue, or of a higher class no more. One that has heard of it already leaves
    nevertheless, and keeps `preempted_at` for its place in the queue."""
    needless = _needless(tx, fleet)
    if not needless:
        return
    stays = (*MAY_HEAR, col(PipelineRow.reason) != reasons.PREEMPTED)
    query = (
        select(AllocationRow)
        .join(PipelineRow, col(PipelineRow.id) == col(AllocationRow.pipeline_id))
        .where(col(AllocationRow.pipeline_id).in_({one for one, _ in needless}), *stays)
    )
    for row in tx.session.exec(query):
        one = needless.get((row.pipeline_id, row.generation))
        if one is not None:
            row.preempted_for = ""
            fleet.hold(replace(one, preempted_for=""))


def _needless(tx: Transaction, fleet: Fleet) -> dict[Key, Allocation]:
    """Those that are leaving for nobody that waits and may preempt them."""
    leaving = fleet.preemptibles.leaving
    if not leaving:
        return {}
    tx.session.flush()
    entries = select(QueueEntryRow.pipeline_id, QueueEntryRow.priority).where(
        col(QueueEntryRow.pipeline_id).in_({one.preempted_for for one in leaving.values()})
    )
    waits: dict[str, int] = dict(tx.session.exec(entries).all())
    return {
        key: one
        for key, one in leaving.items()
        if waits.get(one.preempted_for, one.priority) <= one.priority
    }


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
