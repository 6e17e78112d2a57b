"""Rows to frozen records and back."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlmodel import Session, col, func, select

from gamepipe.model.node import GameNode
from gamepipe.model.record import (
    Allocation,
    EventKind,
    Instance,
    PipelineRecord,
    QueueEntry,
    StepRecord,
    StopOrder,
    StoredEvent,
)
from gamepipe.model.state import Connectivity, InstanceState, NodeState, PipelineState, StepState
from store.table import (
    AllocationRow,
    EventRow,
    InstanceRow,
    NodeRow,
    PipelineRow,
    PipelineValueRow,
    QueueEntryRow,
    StepRow,
    StopOrderRow,
)

_STEP_FIELDS = [field.name for field in fields(StepRecord)]
_ALLOCATION_FIELDS = [
    field.name for field in fields(Allocation) if field.name in AllocationRow.model_fields
]
_INSTANCE_FIELDS = [field.name for field in fields(Instance)]


def step_record(row: StepRow) -> StepRecord:
    values = {name: getattr(row, name) for name in _STEP_FIELDS}
    return StepRecord(**values | {"state": StepState(row.state)})


def step_values(pipeline_id: str, step: StepRecord) -> dict[str, Any]:
    """The columns of its row."""
    values = {name: getattr(step, name) for name in _STEP_FIELDS}
    return values | {"pipeline_id": pipeline_id, "state": step.state.value}


def step_row(pipeline_id: str, step: StepRecord) -> StepRow:
    return StepRow(**step_values(pipeline_id, step))


def instance_record(row: InstanceRow) -> Instance:
    values = {name: getattr(row, name) for name in _INSTANCE_FIELDS}
    return Instance(**values | {"state": InstanceState(row.state)})


def instance_row(instance: Instance) -> InstanceRow:
    return InstanceRow(**asdict(instance) | {"state": instance.state.value})


def allocation_record(row: AllocationRow) -> Allocation:
    return Allocation(**{name: getattr(row, name) for name in _ALLOCATION_FIELDS})


def allocation_values(held: Allocation) -> dict[str, Any]:
    """The columns of its row that it knows."""
    return {name: getattr(held, name) for name in _ALLOCATION_FIELDS}


def queue_record(row: QueueEntryRow) -> QueueEntry:
    return QueueEntry(
        pipeline_id=row.pipeline_id,
        generation=row.generation,
        priority=row.priority,
        queued_at=row.queued_at,
        summary=row.summary,
        verdicts=tuple(row.verdicts),
        reason=row.reason,
        avoid=tuple(row.avoid),
    )


def node_record(row: NodeRow, *, stop_orders: int = 0, unaccounted: int = 0) -> GameNode:
    return GameNode(
        id=row.id,
        facts=row.facts,
        alias=row.alias,
        labels=row.labels,
        location=row.location,
        state=NodeState(row.state),
        connectivity=Connectivity(row.connectivity),
        session=row.session,
        session_key=row.session_key,
        stream=row.stream,
        agent_state=NodeState(row.agent_state) if row.agent_state else None,
        transport=row.transport,
        registered_at=row.registered_at,
        last_seen_at=row.last_seen_at,
        metrics=row.metrics,
        stop_orders=stop_orders,
        unaccounted=unaccounted,
    )


def order_record(row: StopOrderRow) -> StopOrder:
    return StopOrder(
        id=row.id or 0,
        node_id=row.node_id,
        pipeline_id=row.pipeline_id,
        generation=row.generation,
        step_index=row.step_index,
        instance_id=row.instance_id,
        created_at=row.created_at,
    )


def event_record(row: EventRow) -> StoredEvent:
    return StoredEvent(
        id=row.id or 0,
        kind=EventKind(row.kind),
        at=row.at,
        pipeline_id=row.pipeline_id,
        node_id=row.node_id,
        instance_id=row.instance_id,
        number=row.number,
        data=row.data,
    )


def load_nodes(session: Session, *ids: str) -> list[GameNode]:
    """The fleet (or these of it), each node with the numbers of what it has yet to confirm and to
    account for."""
    orders = _counted(session, ids, col(StopOrderRow.node_id))
    lost = col(InstanceRow.unaccounted).is_(True)
    owed = _counted(session, ids, col(InstanceRow.node_id), lost)
    wanted = (col(NodeRow.id).in_(ids),) if ids else ()
    rows = session.exec(select(NodeRow).where(*wanted).order_by(col(NodeRow.id)))
    return [
        node_record(row, stop_orders=orders.get(row.id, 0), unaccounted=owed.get(row.id, 0))
        for row in rows
    ]


def _counted(session: Session, ids: Sequence[str], node_id: Any, *where: Any) -> dict[str, int]:
    """Rows of each node, or of each of these."""
    wanted = (node_id.in_(ids),) if ids else ()
    counts = select(node_id, func.count()).where(*wanted, *where).group_by(node_id)
    return {node: count for node, count in session.exec(counts)}  # noqa: C416 - typed so


def load_pipelines(session: Session, rows: Sequence[PipelineRow]) -> list[PipelineRecord]:
    """Records of rows, with their present steps and the names of their values."""
    ids = [row.id for row in rows]
    steps: dict[tuple[str, int], list[StepRecord]] = {}
    found = session.exec(
        select(StepRow, PipelineRow.id)
        .join(PipelineRow, col(PipelineRow.id) == col(StepRow.pipeline_id))
        .where(
            col(StepRow.pipeline_id).in_(ids),
            col(StepRow.generation) == func.coalesce(func.nullif(PipelineRow.generation, 0), 1),
        )
        .order_by(col(StepRow.index))
    )
    for step, pipeline_id in found:
        steps.setdefault((pipeline_id, step.generation), []).append(step_record(step))
    names = _value_names(session, ids)
    return [
        _pipeline_record(row, steps.get((row.id, max(row.generation, 1)), ()), names)
        for row in rows
    ]


Names = dict[tuple[str, str], tuple[str, ...]]


def _value_names(session: Session, ids: Sequence[str]) -> Names:
    query = (
        select(PipelineValueRow.pipeline_id, PipelineValueRow.kind, PipelineValueRow.name)
        .where(col(PipelineValueRow.pipeline_id).in_(ids))
        .order_by(col(PipelineValueRow.name))
    )
    names: dict[tuple[str, str], list[str]] = {}
    for pipeline_id, kind, name in session.exec(query):
        names.setdefault((pipeline_id, kind), []).append(name)
    return {key: tuple(found) for key, found in names.items()}


def _pipeline_record(row: PipelineRow, steps: Iterable[StepRecord], names: Names) -> PipelineRecord:
    same: dict[str, Any] = {
        name: getattr(row, name)
        for name in (
            *("id", "incarnation", "spec", "args", "name", "tenant", "labels", "priority"),
            *("reason", "message", "generation", "node_id", "definition_revision", "run_id"),
            *("revision", "progress", "created_at", "updated_at", "started_at", "ended_at"),
        )
    }
    return PipelineRecord(
        **same,
        env_names=names.get((row.id, "env"), ()),
        secret_names=names.get((row.id, "secret"), ()),
        state=PipelineState(row.state),
        steps=tuple(steps),
    )
