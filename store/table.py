"""The tables. Rows are written inside transactions only; what leaves the store are frozen records.

`pipeline` 1-n `pipeline_label`, `pipeline_value` (values of envs and secrets), `step`,
`allocation` (one per generation), `queue_entry` (0..1), `instance`, `log_chunk`.
Events keep no foreign key: they outlive what they speak of.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlmodel import Field, Index, SQLModel

from gamepipe.model.explanation import Explanation
from gamepipe.model.node import Location, NodeFacts, NodeMetrics
from gamepipe.model.record import Progress, Verdict
from gamepipe.model.spec import PipelineSpec, Resources
from gamepipe.scheduling.need import Need
from store.column import json_column, time_column

SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts only a column of exactly the type INTEGER by itself."""


class PipelineRow(SQLModel, table=True):
    __tablename__ = "pipeline"
    __table_args__ = (
        Index("ix_pipeline_state_ended", "state", "ended_at"),
        Index("ix_pipeline_tenant_state", "tenant", "state"),
    )

    id: str = Field(primary_key=True)
    incarnation: str = Field(
        default="", sa_column=Column(String, nullable=False, server_default="")
    )
    name: str = Field(index=True)
    tenant: str
    template: str = Field(index=True)
    priority: int
    spec: PipelineSpec = Field(sa_column=json_column(PipelineSpec, shared=True))
    args: dict[str, str] = Field(sa_column=json_column(dict[str, str]))
    content_digest: str
    labels: dict[str, str] = Field(sa_column=json_column(dict[str, str]))
    state: str = Field(index=True)
    reason: str = ""
    message: str = Field(default="", sa_column=Column(Text, nullable=False))
    generation: int = 0
    node_id: str = Field(default="", index=True)
    definition_revision: int = 1
    run_id: str = ""
    revision: int = 0
    progress: Progress = Field(sa_column=json_column(Progress))
    created_at: datetime = Field(sa_column=time_column(index=True))
    updated_at: datetime = Field(sa_column=time_column())
    started_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class PipelineLabelRow(SQLModel, table=True):
    """Labels again, one row each, so that a filter finds them by index."""

    __tablename__ = "pipeline_label"
    __table_args__ = (Index("ix_pipeline_label_key_value", "key", "value"),)

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class PipelineValueRow(SQLModel, table=True):
    """Values of envs and secrets: read only for the node that holds the attempt."""

    __tablename__ = "pipeline_value"

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    kind: str = Field(primary_key=True)
    """env or secret."""
    name: str = Field(primary_key=True)
    value: str = Field(sa_column=Column(Text, nullable=False))


class StepRow(SQLModel, table=True):
    __tablename__ = "step"

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    generation: int = Field(primary_key=True)
    index: int = Field(primary_key=True)
    name: str
    state: str
    attempt: int = 0
    dispatch: int = 0
    reason: str = ""
    message: str = Field(default="", sa_column=Column(Text, nullable=False))
    exit_code: int | None = None
    percent: float | None = None
    started_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    outputs: dict[str, str] = Field(sa_column=json_column(dict[str, str]))
    log_lines: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class AllocationRow(SQLModel, table=True):
    """One placement. Live while `released_at` is null; an offer while `taken_at` is, too."""

    __tablename__ = "allocation"
    __table_args__ = (Index("ix_allocation_released_node", "released_at", "node_id"),)

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    generation: int = Field(primary_key=True)
    node_id: str
    resources: Resources = Field(sa_column=json_column(Resources))
    gpu_devices: tuple[int, ...] = Field(sa_column=json_column(tuple[int, ...]))
    host_ports: tuple[str, ...] = Field(sa_column=json_column(tuple[str, ...]))
    created_at: datetime = Field(sa_column=time_column())
    taken_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    released_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    queued_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    """Its place in the queue, should an offer be withdrawn, or should it be preempted."""
    avoid: tuple[str, ...] = Field(
        default=(), sa_column=json_column(tuple[str, ...], server_default="[]")
    )
    tenant: str = Field(default="default", sa_column_kwargs={"server_default": "default"})
    template: str = Field(default="", sa_column_kwargs={"server_default": ""})
    priority: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    preemptible: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    preempted_for: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Id of the pipeline that it was asked to make room for."""
    preempted_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    revision: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0", index=True)
    )
    """See `store.fleet`."""
    explanation: Explanation | None = Field(
        default=None, sa_column=json_column(Explanation, nullable=True)
    )
    """How the node was chosen, as it was then; read only where somebody asks."""


class QueueEntryRow(SQLModel, table=True):
    """`line` names all that wait with the same need; empty: it is not worked out yet."""

    __tablename__ = "queue_entry"
    __table_args__ = (Index("ix_queue_entry_line", "priority", "line", "queued_at"),)

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    generation: int
    priority: int
    queued_at: datetime = Field(sa_column=time_column())
    summary: str = Field(sa_column=Column(Text, nullable=False))
    verdicts: tuple[Verdict, ...] = Field(sa_column=json_column(tuple[Verdict, ...]))
    avoid: tuple[str, ...] = Field(sa_column=json_column(tuple[str, ...]))
    reason: str = Field(default="", sa_column_kwargs={"server_default": ""})
    line: str = Field(default="", sa_column_kwargs={"server_default": ""})
    need: Need | None = Field(default=None, sa_column=json_column(Need, nullable=True))


class NodeRow(SQLModel, table=True):
    __tablename__ = "game_node"

    id: str = Field(primary_key=True)
    facts: NodeFacts = Field(sa_column=json_column(NodeFacts))
    alias: str = ""
    labels: dict[str, str] = Field(sa_column=json_column(dict[str, str]))
    location: Location = Field(sa_column=json_column(Location))
    state: str
    connectivity: str
    session: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    session_key: str = Field(
        default="", sa_column=Column(String, nullable=False, server_default="")
    )
    nonce: str = Field(default="", sa_column=Column(String, nullable=False, server_default=""))
    """Of the registration that the session was issued for."""
    stream: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    agent_state: str = Field(
        default="", sa_column=Column(String, nullable=False, server_default="")
    )
    transport: str
    labels_set: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    """By people: what the agent declares does not count any more; so with the location."""
    location_set: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    registered_at: datetime = Field(sa_column=time_column())
    last_seen_at: datetime = Field(sa_column=time_column())
    metrics: NodeMetrics = Field(sa_column=json_column(NodeMetrics))
    revision: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0", index=True)
    )
    """See `store.fleet`."""


class StopOrderRow(SQLModel, table=True):
    __tablename__ = "stop_order"
    __table_args__: Any = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    node_id: str = Field(index=True)
    pipeline_id: str
    generation: int
    step_index: int | None = None
    instance_id: str = ""
    created_at: datetime = Field(sa_column=time_column())


class InstanceRow(SQLModel, table=True):
    __tablename__ = "instance"
    __table_args__ = (Index("ix_instance_pipeline", "pipeline_id", "generation"),)

    id: str = Field(primary_key=True)
    pipeline_id: str
    generation: int
    step_index: int
    step_name: str
    attempt: int
    node_id: str = Field(index=True)
    state: str = Field(index=True)
    unaccounted: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    """Lost with its node, which has not said since what became of it."""
    container_id: str = ""
    container_name: str = ""
    image: str = ""
    ports: dict[str, str] = Field(sa_column=json_column(dict[str, str]))
    exit_code: int | None = None
    reason: str = ""
    message: str = Field(default="", sa_column=Column(Text, nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class LogChunkRow(SQLModel, table=True):
    """Consecutive lines of one attempt, compressed (see `gamepipe.logchunk`)."""

    __tablename__ = "log_chunk"

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    generation: int = Field(primary_key=True)
    step_index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    first: int = Field(sa_column=Column(BigInteger, primary_key=True))
    last: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_at: datetime = Field(sa_column=time_column())
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class LogTailRow(SQLModel, table=True):
    """The last stored line of an attempt: the row that two writers of one attempt meet at.

    `base` lines of earlier series are stored before the first line of `series`.
    """

    __tablename__ = "log_tail"

    pipeline_id: str = Field(primary_key=True, foreign_key="pipeline.id", ondelete="CASCADE")
    generation: int = Field(primary_key=True)
    step_index: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    last: int = Field(sa_column=Column(BigInteger, nullable=False))
    base: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    series: str = ""
    earlier_series: str = ""


class EventRow(SQLModel, table=True):
    """`number` is the workflow's own; null for events that the store writes itself."""

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "run_id", "number", name="uq_event_number"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    kind: str
    at: datetime = Field(sa_column=time_column())
    pipeline_id: str = ""
    node_id: str = ""
    instance_id: str = ""
    run_id: str = ""
    number: int | None = None
    data: dict[str, Any] = Field(sa_column=json_column(dict[str, Any]))
