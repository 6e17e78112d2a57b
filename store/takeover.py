"""The first save of a run that took a row over: the row tells what this run has done, no more."""

from datetime import datetime

from sqlmodel import select

from gamepipe.model.record import EventKind
from gamepipe.ports import Notice
from gamepipe.wire import SaveRequest
from store import capacity
from store.record import step_record
from store.table import PipelineRow, StepRow
from store.transaction import NewEvent, Transaction


def is_due(row: PipelineRow, request: SaveRequest) -> bool:
    """Whether another run wrote the row before this one, which has not saved yet."""
    return row.run_id == request.run_id and row.revision == 0 and row.generation > 0


def begin(
    tx: Transaction, row: PipelineRow, request: SaveRequest, *, now: datetime
) -> tuple[Notice, ...]:
    """A reset run may be behind the run that it replaces: steps that it has not come to yet are set
    back, and what any other generation holds is stopped and released. One event says so."""
    changed = _changed_steps(tx, request)
    others = capacity.live_allocations(tx, row.id, besides=request.generation)
    if not changed and not others:
        return ()
    tx.add_event(
        NewEvent(
            kind=EventKind.PIPELINE_RESET,
            at=now,
            pipeline_id=row.id,
            data={
                "previous": row.state,
                "state": request.state.value,
                "previous_generation": row.generation,
                "generation": request.generation,
                "steps": changed,
                "message": "its workflow was reset in Temporal: it goes on from an earlier point",
            },
        )
    )
    return capacity.let_go(tx, row.id, besides=request.generation, now=now)


def _changed_steps(tx: Transaction, request: SaveRequest) -> list[str]:
    rows = select(StepRow).where(
        StepRow.pipeline_id == request.pipeline_id, StepRow.generation == request.generation
    )
    known = {row.index: step_record(row) for row in tx.session.exec(rows)}
    return [step.name for step in request.steps if known.get(step.index, step) != step]
