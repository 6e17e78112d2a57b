"""Offers that nobody took: back to the queue when their node takes nothing new any more."""

from sqlmodel import col, select

from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction


def take_back_offers(tx: Transaction, node_id: str) -> None:
    """Under the placement lock: nothing of these pipelines runs there, so they wait again, at
    their old place in the queue. A workflow that comes for its offer is told so."""
    untaken = (
        select(AllocationRow, PipelineRow)
        .join(PipelineRow, col(PipelineRow.id) == col(AllocationRow.pipeline_id))
        .where(
            AllocationRow.node_id == node_id,
            col(AllocationRow.taken_at).is_(None),
            col(AllocationRow.released_at).is_(None),
        )
    )
    for allocation, row in tx.session.exec(untaken).all():
        tx.session.delete(allocation)
        tx.session.merge(_entry(tx, allocation, row))
    tx.session.flush()


def _entry(tx: Transaction, allocation: AllocationRow, row: PipelineRow) -> QueueEntryRow:
    """The entry that the offer took off the queue; the nodes of earlier generations were lost."""
    earlier = select(AllocationRow.node_id, AllocationRow.released_at).where(
        AllocationRow.pipeline_id == row.id, AllocationRow.generation < allocation.generation
    )
    before = tx.session.exec(earlier).all()
    return QueueEntryRow(
        pipeline_id=row.id,
        generation=allocation.generation,
        priority=row.priority,
        queued_at=max((at for _, at in before if at is not None), default=row.created_at),
        summary=f"node {allocation.node_id} takes no new pipelines",
        verdicts=(),
        avoid=tuple(sorted({node_id for node_id, _ in before})),
    )
