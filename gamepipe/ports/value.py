"""What is asked of the store and answered by it, beyond the records of the domain."""

from dataclasses import dataclass, field
from datetime import datetime

from gamepipe.model.node import Location, NodeFacts, NodeMetrics
from gamepipe.model.record import AttemptKey, PipelineRecord
from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import NodeState, PipelineState


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineFilter:
    """Every given field must match; `labels` are `key` -> `value`; times bound `created_at`."""

    states: tuple[PipelineState, ...] = ()
    node_id: str = ""
    template: str = ""
    tenant: str = ""
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    start_time: datetime | None = None
    end_time: datetime | None = None
    sort_by: str = "created_at"
    """created_at, updated_at, started_at, ended_at, name, state or priority."""
    sort_order: str = "desc"
    page: int = 1
    size: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelinePage:
    items: tuple[PipelineRecord, ...]
    total: int
    page: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineChange:
    """None: leave as it is."""

    name: str | None = None
    labels: dict[str, str] | None = None
    priority: int | None = None
    definition: PipelineSpec | None = None
    """Only while no placement was committed; raises the definition revision."""
    envs: dict[str, str] | None = None
    secrets: dict[str, str] | None = None
    args: dict[str, str] | None = None
    content_digest: str = ""
    """Of all of these: what a repeated creation of the id is compared with from now on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogTail:
    """Number of an attempt's last stored line; its first `base` lines are of earlier series."""

    last: int
    base: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LogStanding:
    """What whoever follows a log looks at: the state of its pipeline, and how far it is stored; as
    far as it was when the state was read, or farther."""

    state: PipelineState
    tails: dict[AttemptKey, LogTail]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogQuery:
    """`attempt`/`step_index`/`generation` None: all of them. Ordered by generation, step, attempt,
    number; `after` continues behind a line (number) of one attempt; `tail` keeps the last n."""

    pipeline_id: str
    generation: int | None = None
    step_index: int | None = None
    attempt: int | None = None
    after: int = 0
    tail: int | None = None
    since: datetime | None = None
    search: str = ""
    regex: bool = False
    """`search` is a regular expression (RE2, which takes linear time), not a substring."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    node_id: str
    facts: NodeFacts
    labels: dict[str, str] = field(default_factory=dict)
    location: Location = field(default_factory=Location)
    transport: str = "temporal"
    nonce: str = ""
    """The same when a registration is repeated because its answer was lost; empty: it is none."""
    session_key: str = ""
    """Of the session that will be issued, if it is a new one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSession:
    """A session as an agent names it."""

    node_id: str
    number: int
    key: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsReport:
    """What a node measured, beside its heartbeats; None: what is known stays."""

    node_id: str
    session: int
    metrics: NodeMetrics | None = None
    round_trips_ms: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeMark:
    """What every gateway must know of a node: whose it is, and what is wanted of it."""

    session: int
    stream: int
    state: NodeState
    stop_orders: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeChange:
    alias: str | None = None
    labels: dict[str, str] | None = None
    location: Location | None = None
    state: NodeState | None = None
