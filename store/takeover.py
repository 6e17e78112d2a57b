"""The first save of a run that took a row over: the row tells what this run has done, no more, and
it goes on only where it has a place."""

from datetime import datetime

from sqlmodel import select

from gamepipe.model import reason as reasons
from gamepipe.model.record import EventKind
from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice
from gamepipe.scheduling.again import has_room_again
from gamepipe.wire import SaveRequest
from store import capacity, verdict
from store.record import allocation_record, step_record
from store.table import AllocationRow, NodeRow, PipelineRow, QueueEntryRow, StepRow
from store.transaction import NewEvent, Transaction


def is_due(row: PipelineRow, request: SaveRequest) -> bool:
    """Whether another run wrote the row before this one, which has not saved yet."""
    return row.run_id == request.run_id and row.revision == 0 and row.generation > 0


def begin(
    tx: Transaction, row: PipelineRow, request: SaveRequest, *, now: datetime
) -> tuple[Notice, ...]:
    """A reset run may be behind the run that it replaces: steps that it has not come to yet are set
    back, and what any other generation holds or waits for is stopped and released. One event says
    so. Where its own place was given to others meanwhile, the pipeline fails."""
    if _runs(request) and not _has_place(tx, row, request, now=now):
        return _fail(tx, row, request, now=now)
    changed = _changed_steps(tx, request)
    others = capacity.live_allocations(tx, row.id, besides=request.generation)
    entry = tx.session.get(QueueEntryRow, row.id)
    waits = entry is not None and (_runs(request) or entry.generation != request.generation)
    if not changed and not others and not waits:
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
    kept = waits and capacity.leave_queue(tx, row.id, now=now)
    freed = capacity.let_go(tx, row.id, besides=request.generation, now=now)
    return freed or (capacity.offer_queue(tx, now=now) if kept else ())


def _runs(request: SaveRequest) -> bool:
    """On its node, from now on."""
    return request.state is PipelineState.RUNNING and not request.release


def _has_place(tx: Transaction, row: PipelineRow, request: SaveRequest, *, now: datetime) -> bool:
    """Its own, or once more the one that it gave back, as long as nobody else needs that room."""
    held = tx.session.get(AllocationRow, (row.id, request.generation))
    if held is not None and held.released_at is None:
        return True
    if held is None:
        return not request.node_id
    others = capacity.live_allocations(tx, row.id)
    offers = [allocation_record(one) for one in others if one.taken_at is None]
    fleet = tx.fleet(now).chooser.snapshot.fleet
    if not has_room_again(allocation_record(held), fleet, without=offers):
        return False
    held.released_at, held.taken_at, held.priority = None, now, row.priority
    held.preempted_for, held.preempted_at = "", None
    tx.session.flush()
    return True


def _fail(
    tx: Transaction, row: PipelineRow, request: SaveRequest, *, now: datetime
) -> tuple[Notice, ...]:
    """Nothing may run there: the node stops what this run has begun meanwhile."""
    if tx.session.get(NodeRow, request.node_id) is not None:
        capacity.order_stop(tx, request.node_id, row.id, request.generation, now=now)
    message = (
        f"its workflow was reset in Temporal to a point at which it ran on node {request.node_id} "
        f"(generation {request.generation}), and its place there is not free any more: submit it "
        "again"
    )
    return verdict.pronounce(
        tx,
        row,
        PipelineState.FAILED,
        reason=reasons.WORKFLOW_LOST,
        message=message,
        now=now,
        run_id=request.run_id,
    )


def _changed_steps(tx: Transaction, request: SaveRequest) -> list[str]:
    rows = select(StepRow).where(
        StepRow.pipeline_id == request.pipeline_id, StepRow.generation == request.generation
    )
    known = {row.index: step_record(row) for row in tx.session.exec(rows)}
    return [step.name for step in request.steps if known.get(step.index, step) != step]
