"""A new pipeline, with its labels, values and steps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlmodel import Session, col, delete, func, select

from gamepipe.model.errors import AlreadyExists, NotFound, QueueFull
from gamepipe.model.record import EventKind, NewPipeline, PipelineRecord, Progress, StepRecord
from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import PipelineState
from gamepipe.scheduling.order_policy import OrderPolicy
from store.record import load_pipelines, step_row
from store.table import PipelineLabelRow, PipelineRow, StepRow
from store.transaction import NewEvent, Transaction
from store.value import ENV, SECRET, put_values

_WAITING = [PipelineState.NOT_STARTED.value, PipelineState.PENDING.value]


def add(tx: Transaction, new: NewPipeline, *, now: datetime) -> tuple[PipelineRecord, bool]:
    """(record, True) when created; (existing, False) for the same id with the same content."""
    created = tx.insert_new(PipelineRow, _columns(new, now))
    row = tx.lock_pipeline(new.id)
    if row is None:
        raise NotFound("pipeline", new.id)  # deleted in this very moment
    if not created:
        _hold_same(row, new)
    else:
        _hold_room(tx, new.spec.tenant)
        _fill(tx, new, now=now)
    return load_pipelines(tx.session, [row])[0], created


def _hold_same(row: PipelineRow, new: NewPipeline) -> None:
    if row.content_digest != new.content_digest:
        raise AlreadyExists(
            f"pipeline {new.id!r} exists with other content: choose another id, or delete it first",
            pipeline_id=new.id,
        )


def _hold_room(tx: Transaction, tenant: str) -> None:
    """Raises `QueueFull` when this one is more than may wait."""
    left = left_in_queue(tx.session, tx.order, tenant)
    if left is not None and left < 0:
        raise QueueFull(tx.order.queue_full(tenant), tenant=tenant)


def left_in_queue(session: Session, order: OrderPolicy, tenant: str) -> int | None:
    """How many more of a tenant may wait, below 0 where too many do; None: any number."""
    if order.longest_queue is None:
        return None
    waiting = select(func.count()).where(
        PipelineRow.tenant == tenant, col(PipelineRow.state).in_(_WAITING)
    )
    return order.longest_queue - session.exec(waiting).one()


def _fill(tx: Transaction, new: NewPipeline, *, now: datetime) -> None:
    put_labels(tx, new.id, new.spec.labels)
    put_values(tx, new.id, ENV, new.envs)
    put_values(tx, new.id, SECRET, new.secrets)
    put_steps(tx, new.id, new.spec, generation=1)
    tx.add_event(
        NewEvent(
            kind=EventKind.PIPELINE_CREATED,
            at=now,
            pipeline_id=new.id,
            data={"name": new.spec.name, "state": PipelineState.NOT_STARTED.value},
        )
    )
    tx.session.flush()


def put_labels(tx: Transaction, pipeline_id: str, labels: Mapping[str, str]) -> None:
    """Replace all labels."""
    tx.session.connection().execute(
        delete(PipelineLabelRow).where(col(PipelineLabelRow.pipeline_id) == pipeline_id)
    )
    tx.session.add_all(
        PipelineLabelRow(pipeline_id=pipeline_id, key=key, value=value)
        for key, value in labels.items()
    )


def put_steps(tx: Transaction, pipeline_id: str, spec: PipelineSpec, *, generation: int) -> None:
    """Replace the steps of a generation by pending ones."""
    tx.session.connection().execute(
        delete(StepRow).where(
            col(StepRow.pipeline_id) == pipeline_id, col(StepRow.generation) == generation
        )
    )
    tx.session.add_all(
        step_row(pipeline_id, StepRecord(index=step.index, name=step.name, generation=generation))
        for step in spec.steps
    )


def _columns(new: NewPipeline, now: datetime) -> dict[str, Any]:
    spec = new.spec
    return {
        "id": new.id,
        "incarnation": new.incarnation or uuid4().hex,
        "name": spec.name,
        "tenant": spec.tenant,
        "template": spec.model,
        "priority": spec.priority,
        "spec": spec,
        "args": new.args,
        "content_digest": new.content_digest,
        "labels": spec.labels,
        "state": PipelineState.NOT_STARTED.value,
        "reason": "",
        "message": "",
        "generation": 0,
        "node_id": "",
        "definition_revision": 1,
        "run_id": "",
        "revision": 0,
        "progress": Progress(total=len(spec.steps)),
        "created_at": now,
        "updated_at": now,
    }
