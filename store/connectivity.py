"""Nodes that are seen, lost, and come back: what becomes of all that ran on them.

A node that is lost may run its games on, out of sight. Its instances are told as lost and what they
held is released, but each stays *unaccounted* until the returned node has said what became of it;
until then the node takes nothing new. So nothing of it is sold while a game still uses it.
"""

from datetime import datetime

from sqlmodel import col, select

from gamepipe.model import reason as reasons
from gamepipe.model.record import EventKind
from gamepipe.model.state import Connectivity, InstanceState, PipelineState
from gamepipe.ports import Notice
from store import capacity
from store.table import AllocationRow, InstanceRow, NodeRow, PipelineRow, StopOrderRow
from store.transaction import NewEvent, Transaction


def change(tx: Transaction, row: NodeRow, seen: Connectivity, *, now: datetime) -> None:
    """Change what is observed of a node, with its event."""
    if row.connectivity == seen.value:
        return
    previous, row.connectivity = row.connectivity, seen.value
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_CONNECTIVITY_CHANGED,
            at=now,
            node_id=row.id,
            data={"previous": previous, "connectivity": seen.value},
        )
    )


def lose(tx: Transaction, node_id: str, *, now: datetime) -> None:
    """Instances are lost with their node, and nobody waits for its confirmations any more. The
    orders stay: a node that comes back carries them out first. Offers go to other nodes."""
    capacity.withdraw_offers(tx, node_id, now=now)
    held = set()
    live = select(InstanceRow).where(
        InstanceRow.node_id == node_id, col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES)
    )
    for instance in tx.session.exec(live).all():
        capacity.change_instance(
            tx,
            instance,
            InstanceState.LOST,
            now=now,
            reason=reasons.NODE_LOST,
            message=f"node {node_id} was lost",
        )
        instance.unaccounted = True
        held.add((instance.pipeline_id, instance.generation))
    orders = select(StopOrderRow).where(StopOrderRow.node_id == node_id)
    held |= {(order.pipeline_id, order.generation) for order in tx.session.exec(orders)}
    tx.session.flush()
    for pipeline_id, generation in sorted(held):
        capacity.release_ended(tx, pipeline_id, generation, now=now)


def account(
    tx: Transaction, row: InstanceRow, state: InstanceState, *, now: datetime
) -> tuple[Notice, ...]:
    """The returned node says how an instance is that was lost with it. One that is alive counts
    again, with its allocation, if its pipeline still wants it; else it is stopped there."""
    row.unaccounted = False
    if state.is_terminal:
        capacity.order_tidying(tx, row.pipeline_id, row.generation, now=now)
        tx.session.flush()
        return capacity.offer_queue(tx, now=now)
    if _is_wanted(tx, row):
        capacity.change_instance(tx, row, state, now=now, message=f"node {row.node_id} came back")
        row.ended_at = None
        _hold_again(tx, row)
    elif not capacity.stop_is_ordered(tx, row.pipeline_id, row.generation):
        capacity.order_stop(tx, row.node_id, row.pipeline_id, row.generation, now=now)
    tx.session.flush()
    return capacity.offer_queue(tx, now=now)  # the last one that it owed may open the node


def _is_wanted(tx: Transaction, row: InstanceRow) -> bool:
    """By its pipeline, which completed or goes on, in this very generation, with nobody asking for
    its stop."""
    pipeline = tx.session.get(PipelineRow, row.pipeline_id)
    if pipeline is None or pipeline.generation != row.generation:
        return False
    gave_up = {PipelineState.FAILED.value, PipelineState.CANCELED.value}
    if pipeline.state in gave_up:
        return False
    return not capacity.stop_is_ordered(tx, row.pipeline_id, row.generation)


def _hold_again(tx: Transaction, row: InstanceRow) -> None:
    """There is room: the node took nothing new since it was lost."""
    held = tx.session.get(AllocationRow, (row.pipeline_id, row.generation))
    if held is not None:
        held.released_at = None
