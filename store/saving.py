"""Applying a `SaveRequest`: the workflow is the only writer of pipeline and step state."""

from dataclasses import replace
from datetime import datetime

from gamepipe.model import reason as reasons
from gamepipe.model.record import EventKind, Instance
from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice
from gamepipe.wire import SaveAck, SaveRequest, SaveStatus
from store import capacity, preemption, takeover
from store.record import instance_row, step_values
from store.table import InstanceRow, PipelineRow, StepRow
from store.transaction import NewEvent, Transaction

Saved = tuple[SaveAck, tuple[Notice, ...]]


def save(tx: Transaction, request: SaveRequest, *, now: datetime, chosen: str = "") -> Saved:
    """Events first, whoever sends them; then the state, if this run owns the row. `chosen`: the
    node, which the workflow did not know when it wrote this."""
    row = tx.lock_pipeline(request.pipeline_id)
    if row is None or row.incarnation != request.incarnation:
        return SaveAck(status=SaveStatus.DELETED), ()
    _add_events(tx, request, chosen)
    if (known := _known(row, request)) is not None:
        return known, ()
    notices: tuple[Notice, ...] = ()
    if takeover.is_due(row, request):
        if not request.complete:
            return SaveAck(status=SaveStatus.INCOMPLETE), ()
        notices = takeover.begin(tx, row, request, now=now)
        if PipelineState(row.state).is_terminal:
            return SaveAck(status=SaveStatus.CLOSED, state=PipelineState(row.state)), notices
    if _apply(tx, row, request, chosen, now=now):
        tx.session.flush()
        notices += capacity.offer_queue(tx, now=now)
    return SaveAck(status=SaveStatus.SAVED), notices + _release(tx, request, now=now)


def _known(row: PipelineRow, request: SaveRequest) -> SaveAck | None:
    """The answer to one of which nothing is written."""
    state = PipelineState(row.state)
    if state.is_terminal:
        repeated = row.run_id == request.run_id and row.revision == request.revision
        return SaveAck(status=SaveStatus.SAVED if repeated else SaveStatus.CLOSED, state=state)
    if row.run_id not in ("", request.run_id, request.previous_run_id):
        return SaveAck(status=SaveStatus.STALE_RUN)
    if row.run_id == request.run_id and request.revision <= row.revision:
        return SaveAck(status=SaveStatus.SAVED)
    return None


def _add_events(tx: Transaction, request: SaveRequest, chosen: str) -> None:
    for event in request.events:
        tx.add_event(
            NewEvent(
                kind=event.kind,
                at=event.at,
                pipeline_id=request.pipeline_id,
                node_id=chosen or request.node_id,
                run_id=request.run_id,
                number=event.number,
                data=event.data | {"node_id": chosen} if chosen else event.data,
            )
        )


def _apply(
    tx: Transaction, row: PipelineRow, request: SaveRequest, chosen: str, *, now: datetime
) -> bool:
    """Whether it was to make room, and does not any more."""
    total = len(row.spec.steps)
    progress = request.progress
    values = {
        "state": request.state.value,
        "reason": request.reason,
        "message": request.message,
        "generation": request.generation,
        "node_id": chosen or request.node_id,
        "progress": progress if progress.total == total else replace(progress, total=total),
        "started_at": request.started_at,
        "ended_at": request.ended_at,
        "run_id": request.run_id,
        "revision": request.revision,
        "updated_at": now,
    }
    tx.session.change_row(row, values)
    for step in request.steps:
        tx.put_row(StepRow, step_values(row.id, step))
    making_room = request.reason == reasons.PREEMPTED  # and it stops the service, too
    spared = [
        _put_instance(tx, instance, now=now, making_room=making_room)
        for instance in request.instances
    ]
    return any(spared)


def _put_instance(tx: Transaction, instance: Instance, *, now: datetime, making_room: bool) -> bool:
    """Insert what came up; change what was stopped, unless its end was observed already. Whether
    somebody waits for the room of one that stays."""
    known = tx.session.get(InstanceRow, instance.id)
    if known is None or known.generation < instance.generation:
        row = tx.session.merge(instance_row(instance))
        stays = not (instance.state.is_terminal or making_room)
        tx.add_event(
            NewEvent(
                kind=EventKind.INSTANCE_STATE_CHANGED,
                at=now,
                pipeline_id=row.pipeline_id,
                node_id=row.node_id,
                instance_id=row.id,
                data={"previous": "", "state": row.state, "reason": row.reason},
            )
        )
        return stays and preemption.spare(tx, instance.pipeline_id, instance.generation)
    if known.state not in capacity.TERMINAL_INSTANCES and known.state != instance.state.value:
        capacity.change_instance(
            tx,
            known,
            instance.state,
            now=now,
            reason=instance.reason,
            message=instance.message,
            exit_code=instance.exit_code,
        )
    return False


def _release(tx: Transaction, request: SaveRequest, *, now: datetime) -> tuple[Notice, ...]:
    """The end of a generation: its queue entry goes; its allocation goes, or waits for the node."""
    if not request.release:
        return ()
    kept = capacity.leave_queue(tx, request.pipeline_id, now=now)
    for index in request.stop_steps:
        capacity.order_stop(
            tx,
            request.node_id,
            request.pipeline_id,
            request.generation,
            step_index=index,
            now=now,
        )
    if request.hold_for_node and request.node_id:
        must_wait = capacity.order_stop(
            tx, request.node_id, request.pipeline_id, request.generation, now=now
        )
        if must_wait:
            return ()
    capacity.order_tidying(tx, request.pipeline_id, request.generation, now=now)
    freed = capacity.release(tx, request.pipeline_id, request.generation, now=now)
    return freed or (capacity.offer_queue(tx, now=now) if kept else ())
