"""The sweep's verdict on a pipeline whose workflow cannot speak for itself any more."""

from datetime import datetime

from sqlmodel import col, select

from gamepipe.model.errors import IllegalTransition, RevisionConflict
from gamepipe.model.record import EventKind, Progress
from gamepipe.model.state import PipelineState, StepState
from gamepipe.ports import Notice
from store import capacity
from store.table import PipelineRow, StepRow
from store.transaction import NewEvent, Transaction


def pronounce(
    tx: Transaction,
    row: PipelineRow,
    state: PipelineState,
    *,
    reason: str,
    message: str,
    now: datetime,
    run_id: str | None,
) -> tuple[Notice, ...]:
    """See `PipelineRepository.update_status`. A terminal row is left alone."""
    if row.state in capacity.TERMINAL_PIPELINES:
        return ()
    _check(row, state, run_id)
    previous, row.state = row.state, state.value
    row.reason, row.message, row.updated_at = reason, message, now
    data = {
        "previous": previous,
        "state": state.value,
        "reason": reason,
        "message": message,
        "generation": row.generation,
    }
    if state.is_terminal:
        _end_steps(tx, row, reason, message, now=now)
    tx.add_event(
        NewEvent(
            kind=EventKind.PIPELINE_STATE_CHANGED,
            at=now,
            pipeline_id=row.id,
            node_id=row.node_id,
            data=data,
        )
    )
    return capacity.let_go(tx, row.id, now=now) if state.is_terminal else ()


def _check(row: PipelineRow, state: PipelineState, run_id: str | None) -> None:
    if run_id is not None and row.run_id != run_id:
        raise RevisionConflict(f"pipeline {row.id!r} belongs to another workflow run by now")
    current = PipelineState(row.state)
    if current is not state and not current.may_become(state):
        raise IllegalTransition(f"pipeline {row.id!r} cannot go from {current} to {state}")


def _end_steps(
    tx: Transaction, row: PipelineRow, reason: str, message: str, *, now: datetime
) -> None:
    """What ran failed, what did not is skipped."""
    row.ended_at = now
    total = len(row.spec.steps)
    row.progress = Progress(ended=total, total=total, percent=100.0)
    steps = select(StepRow).where(
        StepRow.pipeline_id == row.id, StepRow.generation == max(row.generation, 1)
    )
    for step in tx.session.exec(steps.order_by(col(StepRow.index))):
        before = StepState(step.state)
        if before.is_terminal:
            continue
        ended = StepState.FAILED if before is StepState.RUNNING else StepState.SKIPPED
        step.state, step.reason, step.message, step.ended_at = ended.value, reason, message, now
        tx.add_event(_step_event(row, step, before, now=now))


def _step_event(row: PipelineRow, step: StepRow, before: StepState, *, now: datetime) -> NewEvent:
    return NewEvent(
        kind=EventKind.STEP_STATE_CHANGED,
        at=now,
        pipeline_id=row.id,
        node_id=row.node_id,
        data={
            "step": step.name,
            "index": step.index,
            "generation": step.generation,
            "attempt": step.attempt,
            "previous": before.value,
            "state": step.state,
            "reason": step.reason,
            "message": step.message,
            "exit_code": step.exit_code,
        },
    )
