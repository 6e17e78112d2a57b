"""What people may change of a pipeline: name, labels, priority; its definition until placed."""

from datetime import datetime

from sqlmodel import select

from gamepipe.model.errors import IllegalTransition
from gamepipe.model.record import EventKind, Progress
from gamepipe.model.spec import PipelineSpec
from gamepipe.ports import Notice, PipelineChange
from store import capacity, queue
from store.adding import put_labels, put_steps
from store.table import AllocationRow, PipelineRow, QueueEntryRow
from store.transaction import NewEvent, Transaction
from store.value import ENV, SECRET, put_values


def change(
    tx: Transaction, row: PipelineRow, wanted: PipelineChange, *, now: datetime
) -> tuple[Notice, ...]:
    """Apply; a queued pipeline whose needs or priority changed is tried anew at once."""
    if wanted.definition is not None:
        _hold_unplaced(tx, row)
        _redefine(tx, row, wanted.definition, wanted)
    if wanted.name is not None:
        row.name = wanted.name
    if wanted.labels is not None:
        row.labels = wanted.labels
        put_labels(tx, row.id, wanted.labels)
    if wanted.priority is not None:
        _raise(tx, row, wanted.priority)
    row.updated_at = now
    _tell(tx, row, wanted, now=now)
    return _requeue(tx, row, wanted, now=now)


def _raise(tx: Transaction, row: PipelineRow, priority: int) -> None:
    """Or lower: what it holds is of its present class, which is what preempts or does not."""
    row.priority = priority
    for held in capacity.live_allocations(tx, row.id):
        tx.hold_placement_lock()
        held.priority = priority


def _hold_unplaced(tx: Transaction, row: PipelineRow) -> None:
    placed = select(AllocationRow.generation).where(AllocationRow.pipeline_id == row.id)
    if row.state in capacity.TERMINAL_PIPELINES or tx.session.exec(placed).first() is not None:
        raise IllegalTransition(
            f"pipeline {row.id!r} is {row.state} and was placed already: its definition stands. "
            "Cancel it and submit the new definition under another id",
            pipeline_id=row.id,
            state=row.state,
        )


def _redefine(
    tx: Transaction, row: PipelineRow, spec: PipelineSpec, wanted: PipelineChange
) -> None:
    row.spec, row.template, row.tenant = spec, spec.model, spec.tenant
    row.name, row.priority, row.labels = spec.name, spec.priority, spec.labels
    row.args = wanted.args or {}
    row.content_digest = wanted.content_digest
    row.definition_revision += 1
    row.progress = Progress(total=len(spec.steps))
    put_labels(tx, row.id, spec.labels)
    put_values(tx, row.id, ENV, wanted.envs or {})
    put_values(tx, row.id, SECRET, wanted.secrets or {})
    put_steps(tx, row.id, spec, generation=max(row.generation, 1))


def _tell(tx: Transaction, row: PipelineRow, wanted: PipelineChange, *, now: datetime) -> None:
    fields = ("name", "labels", "priority", "definition")
    changed = [name for name in fields if getattr(wanted, name) is not None]
    tx.add_event(
        NewEvent(
            kind=EventKind.PIPELINE_CHANGED, at=now, pipeline_id=row.id, data={"changed": changed}
        )
    )


def _requeue(
    tx: Transaction, row: PipelineRow, wanted: PipelineChange, *, now: datetime
) -> tuple[Notice, ...]:
    """A label that a running pipeline loses may free a limit; in a lower class it may be one that
    others preempt."""
    entry = tx.session.get(QueueEntryRow, row.id)
    relabelled = wanted.labels is not None or wanted.definition is not None
    freed = (relabelled and tx.order.limits.label_keys) or wanted.priority is not None
    if entry is None and not freed:
        return ()
    if entry is not None:
        queue.redefine(entry, row)
    tx.session.flush()
    return capacity.offer_queue(tx, now=now)
