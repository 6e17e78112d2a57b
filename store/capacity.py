"""Allocations inside a transaction that holds the placement lock: place, release, offer."""

from datetime import datetime

from sqlmodel import col, select

from gamepipe.model.record import EventKind
from gamepipe.model.state import Connectivity, InstanceState, PipelineState
from gamepipe.ports import Notice
from gamepipe.scheduling.choose import Refusal
from gamepipe.scheduling.order import Waiting
from store import preemption, queue, serving
from store.table import (
    AllocationRow,
    InstanceRow,
    NodeRow,
    PipelineRow,
    QueueEntryRow,
    StopOrderRow,
)
from store.transaction import NewEvent, Transaction

TERMINAL_PIPELINES = [state.value for state in PipelineState if state.is_terminal]
TERMINAL_INSTANCES = [state.value for state in InstanceState if state.is_terminal]


def offer_queue(tx: Transaction, *, now: datetime, telling: bool = False) -> tuple[Notice, ...]:
    """Serve the queue in its order: an allocation for each that fits, and room is asked for where
    one may preempt. `telling`: those that do not fit hear why, as things are now."""
    if queue.is_empty(tx):
        return ()
    served = serving.serve_queue(tx, tx.fleet(now).chooser, now=now)
    if telling:
        serving.tell_refused(tx, served.turns)
    served.turns.lift()
    return served.notices


def withdraw_offers(tx: Transaction, node_id: str, *, now: datetime) -> tuple[Notice, ...]:
    """The node takes nothing new: whoever was offered it and has not taken it waits again, at the
    same place in the queue, or is offered another."""
    untaken = select(AllocationRow).where(
        AllocationRow.node_id == node_id,
        col(AllocationRow.taken_at).is_(None),
        col(AllocationRow.released_at).is_(None),
    )
    offered = tx.session.exec(untaken).all()
    for allocation in offered:
        withdraw_offer(tx, allocation)
    return offer_queue(tx, now=now) if offered else ()


def withdraw_offer(tx: Transaction, allocation: AllocationRow) -> None:
    """Nobody took it: it becomes the entry in the queue again that it was."""
    row = tx.session.get_one(PipelineRow, allocation.pipeline_id)
    said = f"node {allocation.node_id}, which was offered, takes nothing new any more"
    waiting = Waiting(
        pipeline_id=row.id,
        generation=allocation.generation,
        queued_at=allocation.queued_at or allocation.created_at,
    )
    queue.put(tx, row, waiting, avoid=allocation.avoid, why=Refusal(counts={}, summary=said))
    tx.session.delete(allocation)
    tx.session.flush()


def release(
    tx: Transaction, pipeline_id: str, generation: int, *, now: datetime
) -> tuple[Notice, ...]:
    """Release unless a live instance holds it; what frees is offered at once. Idempotent."""
    held = tx.session.get(AllocationRow, (pipeline_id, generation))
    if held is None or held.released_at is not None:
        return ()
    if _live_instance(tx, pipeline_id, generation):
        spared = preemption.spare(tx, pipeline_id, generation)
        return offer_queue(tx, now=now) if spared else ()
    _free(tx, held, now=now)
    tx.session.flush()
    return offer_queue(tx, now=now)


def _free(tx: Transaction, held: AllocationRow, *, now: datetime) -> None:
    held.released_at = now
    if held.preempted_for:
        tx.vacated[held.preempted_for] = held.node_id


def release_ended(
    tx: Transaction, pipeline_id: str, generation: int, *, now: datetime
) -> tuple[Notice, ...]:
    """Release what an ended pipeline (or an earlier generation of it) still held."""
    row = tx.session.get(PipelineRow, pipeline_id)
    over = row is None or row.state in TERMINAL_PIPELINES or row.generation > generation
    return release(tx, pipeline_id, generation, now=now) if over else ()


def live_allocations(
    tx: Transaction, pipeline_id: str, *, besides: int | None = None
) -> list[AllocationRow]:
    """What a pipeline holds, in every generation `besides` this one."""
    live = select(AllocationRow).where(
        AllocationRow.pipeline_id == pipeline_id, col(AllocationRow.released_at).is_(None)
    )
    return [row for row in tx.session.exec(live) if row.generation != besides]


def let_go(
    tx: Transaction, pipeline_id: str, *, now: datetime, besides: int | None = None
) -> tuple[Notice, ...]:
    """Nothing stays allocated or queued, `besides` one generation. The node must confirm that
    everything stopped before it takes anything new, so that what was released is not sold while it
    is still in use."""
    entry = tx.session.get(QueueEntryRow, pipeline_id)
    had_place = entry is not None and entry.generation != besides
    kept = had_place and leave_queue(tx, pipeline_id, now=now)
    held = live_allocations(tx, pipeline_id, besides=besides)
    if not held and not kept:
        return ()
    tx.hold_placement_lock()
    for allocation in held:
        _free(tx, allocation, now=now)
        if allocation.taken_at is not None:
            order_stop(tx, allocation.node_id, pipeline_id, allocation.generation, now=now)
    tx.session.flush()
    return offer_queue(tx, now=now)


def leave_queue(tx: Transaction, pipeline_id: str, *, now: datetime) -> bool:
    """Whether something may have been kept for it that others can have now: what it reserved, or
    what some of those that it preempted have left already."""
    entry = dequeue(tx, pipeline_id)
    if entry is None:
        return False
    reserved = now - entry.queued_at >= tx.order.reserve_after
    return reserved or preemption.is_under_way(tx, now=now)


def dequeue(tx: Transaction, pipeline_id: str) -> QueueEntryRow | None:
    """The entry that it had."""
    entry = tx.find(QueueEntryRow, pipeline_id)
    if entry is not None:
        tx.session.delete(entry)
        tx.session.flush()
    return entry


def order_tidying(tx: Transaction, pipeline_id: str, generation: int, *, now: datetime) -> None:
    """The last instance of a completed pipeline is gone: its node removes the workspace too."""
    of_generation = (InstanceRow.pipeline_id == pipeline_id, InstanceRow.generation == generation)
    row = tx.session.get(PipelineRow, pipeline_id)
    instance = tx.session.exec(select(InstanceRow).where(*of_generation)).first()
    if row is None or row.state != PipelineState.COMPLETED.value or instance is None:
        return
    if _live_instance(tx, pipeline_id, generation) or stop_is_ordered(tx, pipeline_id, generation):
        return
    order_stop(tx, instance.node_id, pipeline_id, generation, now=now)
    tx.session.flush()


def stop_is_ordered(tx: Transaction, pipeline_id: str, generation: int) -> bool:
    """Of everything of the generation; single steps may be stopped beside a game that lives on."""
    ordered = select(StopOrderRow.id).where(
        StopOrderRow.pipeline_id == pipeline_id,
        StopOrderRow.generation == generation,
        col(StopOrderRow.step_index).is_(None),
    )
    return tx.session.exec(ordered).first() is not None


def _live_instance(tx: Transaction, pipeline_id: str, generation: int) -> bool:
    query = select(InstanceRow.id).where(
        InstanceRow.pipeline_id == pipeline_id,
        InstanceRow.generation == generation,
        col(InstanceRow.state).not_in(TERMINAL_INSTANCES),
    )
    return tx.session.exec(query).first() is not None


def order_stop(
    tx: Transaction,
    node_id: str,
    pipeline_id: str,
    generation: int,
    *,
    step_index: int | None = None,
    now: datetime,
) -> bool:
    """Store the order that everything of a generation stops, or one step of it; True when its
    allocation must wait for the confirmation (the node is not lost)."""
    tx.session.add(
        StopOrderRow(
            node_id=node_id,
            pipeline_id=pipeline_id,
            generation=generation,
            step_index=step_index,
            created_at=now,
        )
    )
    node = tx.session.get(NodeRow, node_id)
    return node is not None and node.connectivity != Connectivity.LOST.value


def change_instance(
    tx: Transaction,
    row: InstanceRow,
    state: InstanceState,
    *,
    now: datetime,
    reason: str = "",
    message: str = "",
    exit_code: int | None = None,
) -> None:
    """Change an instance's state, with its event; `ended_at` when that is an end."""
    previous, row.state = row.state, state.value
    row.reason, row.message = reason, message
    if exit_code is not None:
        row.exit_code = exit_code
    if state.is_terminal:
        row.ended_at = now
    tx.add_event(
        NewEvent(
            kind=EventKind.INSTANCE_STATE_CHANGED,
            at=now,
            pipeline_id=row.pipeline_id,
            node_id=row.node_id,
            instance_id=row.id,
            data={
                "previous": previous,
                "state": state.value,
                "reason": reason,
                "message": message,
                "exit_code": row.exit_code,
            },
        )
    )
