"""Allocations that nothing holds any more: none should be, for whoever ends releases."""

from sqlmodel import Session, col, or_, select

from store import capacity
from store.table import AllocationRow, InstanceRow, PipelineRow, StopOrderRow

Key = tuple[str, int]
"""Pipeline id and generation."""


def orphans(session: Session) -> list[Key]:
    """Live allocations of pipelines that ended, or went on elsewhere, without a live instance and
    without a stop that their node has yet to confirm. Whoever waits or is offered a node does so in
    the generation of its row: one above that is of a run that was reset."""
    live_instance = select(InstanceRow.id).where(
        InstanceRow.pipeline_id == AllocationRow.pipeline_id,
        InstanceRow.generation == AllocationRow.generation,
        col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES),
    )
    unconfirmed = select(StopOrderRow.id).where(
        StopOrderRow.pipeline_id == AllocationRow.pipeline_id,
        StopOrderRow.generation == AllocationRow.generation,
    )
    over = or_(
        col(PipelineRow.state).in_(capacity.TERMINAL_PIPELINES),
        col(PipelineRow.generation) != col(AllocationRow.generation),
    )
    query = (
        select(AllocationRow.pipeline_id, AllocationRow.generation)
        .join(PipelineRow, col(PipelineRow.id) == col(AllocationRow.pipeline_id))
        .where(
            col(AllocationRow.released_at).is_(None),
            over,
            ~live_instance.exists(),
            ~unconfirmed.exists(),
        )
    )
    return [(pipeline_id, generation) for pipeline_id, generation in session.exec(query)]
