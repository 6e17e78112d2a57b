"""Lists of pipelines, by filter and page."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from gamepipe.model.errors import InvalidRequest, NotFound
from gamepipe.model.record import GenerationRecord, PipelineRecord, StepRecord
from gamepipe.ports import PipelineFilter, PipelinePage
from store.capacity import TERMINAL_PIPELINES
from store.record import load_pipelines, step_record
from store.table import AllocationRow, PipelineLabelRow, PipelineRow, StepRow

SORT_COLUMNS = {
    name: getattr(PipelineRow, name)
    for name in (
        *("created_at", "updated_at", "started_at", "ended_at", "name", "state", "priority"),
    )
}
LARGEST_PAGE = 1000


def find(session: Session, query: PipelineFilter) -> PipelinePage:
    """One page; raises `InvalidRequest` for a sort or page that cannot be."""
    order = _order(query)
    if query.page < 1 or not 1 <= query.size <= LARGEST_PAGE:
        raise InvalidRequest(f"page counts from 1 and size is 1 to {LARGEST_PAGE}")
    matching = _matching(query)
    total = session.exec(select(func.count()).select_from(matching.subquery())).one()
    rows = session.exec(
        matching.order_by(*order).offset((query.page - 1) * query.size).limit(query.size)
    ).all()
    items = tuple(load_pipelines(session, rows))
    return PipelinePage(items=items, total=total, page=query.page, size=query.size)


def _order(query: PipelineFilter) -> tuple[Any, Any]:
    if query.sort_by not in SORT_COLUMNS or query.sort_order not in ("asc", "desc"):
        raise InvalidRequest(
            f"cannot sort by {query.sort_by!r} {query.sort_order!r}: sort_by is one of "
            f"{', '.join(SORT_COLUMNS)}, sort_order asc or desc"
        )
    columns = col(SORT_COLUMNS[query.sort_by]), col(PipelineRow.id)
    first, second = ((c.asc() if query.sort_order == "asc" else c.desc()) for c in columns)
    return first.nulls_last(), second


def _matching(query: PipelineFilter) -> SelectOfScalar[PipelineRow]:
    rows = select(PipelineRow)
    if query.states:
        rows = rows.where(col(PipelineRow.state).in_([state.value for state in query.states]))
    for name in ("node_id", "template", "tenant", "name"):
        wanted = getattr(query, name)
        if wanted:
            rows = rows.where(getattr(PipelineRow, name) == wanted)
    for key, value in query.labels.items():
        labelled = select(PipelineLabelRow.pipeline_id).where(
            PipelineLabelRow.key == key, PipelineLabelRow.value == value
        )
        rows = rows.where(col(PipelineRow.id).in_(labelled))
    if query.start_time is not None:
        rows = rows.where(col(PipelineRow.created_at) >= query.start_time)
    if query.end_time is not None:
        rows = rows.where(col(PipelineRow.created_at) < query.end_time)
    return rows


def generations(session: Session, pipeline_id: str) -> tuple[GenerationRecord, ...]:
    """Every placement with the steps that ran under it, by number."""
    pipeline = session.get(PipelineRow, pipeline_id)
    if pipeline is None:
        raise NotFound("pipeline", pipeline_id)
    steps: dict[int, list[StepRecord]] = {}
    rows = select(StepRow).where(StepRow.pipeline_id == pipeline_id)
    for row in session.exec(rows.order_by(col(StepRow.index))):
        steps.setdefault(row.generation, []).append(step_record(row))
    held = select(AllocationRow).where(AllocationRow.pipeline_id == pipeline_id)
    return tuple(
        GenerationRecord(
            number=row.generation,
            node_id=row.node_id,
            placed_at=row.created_at,
            released_at=row.released_at,
            explanation=row.explanation,
            # One that was asked, and ended before, made room for nobody.
            preempted_for=row.preempted_for if row.generation < pipeline.generation else "",
            steps=tuple(steps.get(row.generation, ())),
        )
        for row in session.exec(held.order_by(col(AllocationRow.generation)))
    )


def live_ids(session: Session) -> Sequence[str]:
    """Of pipelines that are not terminal, oldest first."""
    return session.exec(
        select(PipelineRow.id)
        .where(col(PipelineRow.state).not_in(TERMINAL_PIPELINES))
        .order_by(col(PipelineRow.created_at), col(PipelineRow.id))
    ).all()


def live(session: Session) -> tuple[PipelineRecord, ...]:
    """Every pipeline that is not terminal, oldest first."""
    rows = (
        select(PipelineRow)
        .where(col(PipelineRow.state).not_in(TERMINAL_PIPELINES))
        .order_by(col(PipelineRow.created_at), col(PipelineRow.id))
    )
    return tuple(load_pipelines(session, session.exec(rows).all()))
