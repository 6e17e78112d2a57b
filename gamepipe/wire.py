"""What workflows exchange with activities and agents: one dataclass in, one out, for each.

These values land in Temporal's history, so no value of an env or a secret is ever among them.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gamepipe.model.record import Instance, PipelineEvent, Progress, StepRecord
from gamepipe.model.run import BookState
from gamepipe.model.spec import PipelineSpec, Step
from gamepipe.model.state import PipelineState, StepState

CONTROL_QUEUE = "gamepipe"


def node_queue(node_id: str) -> str:
    """Name of the task queue that a node's agent serves."""
    return f"node-{node_id}"


def workflow_id(pipeline_id: str) -> str:
    return f"pipeline-{pipeline_id}"


# --- node activities ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What templates of one step may name, cut down to what they do name.

    `env_names` and `secret_names` are asked for with FetchStepSecrets by the node that runs it.
    """

    args: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Step name -> output name -> value."""
    node: dict[str, str] = field(default_factory=dict)
    pipeline: dict[str, str] = field(default_factory=dict)
    env_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepAssignment:
    """Input of `run_step`: one dispatch of one attempt."""

    pipeline_id: str
    generation: int
    attempt: int
    dispatch: int
    step: Step
    scope: Scope
    timeout_seconds: float | None
    """Of the attempt, from its start on the node; the agent enforces it."""
    grace_seconds: float
    heartbeat_seconds: float
    """The activity's heartbeat timeout; the agent sends one per third of it."""
    gpu_devices: tuple[int, ...] = ()
    clean_after: bool = False
    """Nothing follows this step: when it completes, the agent removes the workspace itself."""
    stop_when_cut_off: bool = False
    """`on_node_lost: reschedule`: an agent that cannot renew for the TTL stops the step itself."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Output of `run_step`: the end of the attempt; a step's failure is data, not an exception."""

    state: StepState
    """completed or failed."""
    started_at: datetime | None
    """None: it never started (refused)."""
    ended_at: datetime
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    log_lines: int = 0
    retryable: bool = True
    """False: another attempt would meet the same refusal (an unsupported field, say)."""
    instance: Instance | None = None


class ReportKind(StrEnum):
    RUNNING = "running"
    PROGRESS = "progress"


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Signal `report_step`: news of a running attempt; at most 40 progress reports each."""

    generation: int
    step_index: int
    attempt: int
    kind: ReportKind
    at: datetime
    percent: float | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class StopStep:
    """Input of `stop_step`. Returns when the container or process group is gone; remembered when
    it comes before its `run_step`, which is then refused. `attempt` None: every attempt."""

    pipeline_id: str
    generation: int
    step_index: int
    attempt: int | None
    grace_seconds: float


@dataclass(frozen=True, kw_only=True)
class StopAnswer:
    was_running: bool


@dataclass(frozen=True, kw_only=True)
class StopInstanceOrder:
    """Input of `stop_instance`; idempotent: an instance that is gone already answers too."""

    instance_id: str
    pipeline_id: str
    generation: int
    step_index: int
    grace_seconds: float


@dataclass(frozen=True, kw_only=True)
class InstanceEnd:
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class InstanceStop:
    """Input of the workflow `StopInstance`, id `stop-instance-<instance id>`."""

    node_id: str
    order: StopInstanceOrder


@dataclass(frozen=True, kw_only=True)
class InstanceEnded:
    """Input of the control activity `end_instance`."""

    instance_id: str
    end: InstanceEnd


@dataclass(frozen=True, kw_only=True)
class CleanWorkspace:
    """Input of `clean_workspace`; idempotent. Removes the workspace, containers, shim files."""

    pipeline_id: str
    generation: int


# --- the workflow ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a generation runs; `node` is what `${{ node.X }}` may name."""

    node_id: str
    generation: int
    gpu_devices: tuple[int, ...] = ()
    node: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Timeouts of the service that a run keeps for its whole life (seconds)."""

    heartbeat_seconds: float = 30.0
    schedule_to_start_seconds: float = 60.0
    node_ttl_seconds: float = 30.0
    grace_seconds: float = 10.0
    max_dispatches: int = 5


@dataclass(frozen=True, kw_only=True)
class CarriedRun:
    """What a run that continues as new hands to the next: everything acknowledged by the store."""

    book: BookState
    revision: int
    lost_nodes: tuple[str, ...] = ()
    placement: Placement | None = None
    workspace_used: bool = False


@dataclass(frozen=True, kw_only=True)
class PipelineStart:
    """Input of the workflow `GamePipeline`. `carried` is set only when it continues as new."""

    pipeline_id: str
    spec: PipelineSpec
    args: dict[str, str] = field(default_factory=dict)
    env_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    definition_revision: int = 1
    settings: RunSettings = field(default_factory=RunSettings)
    carried: CarriedRun | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineEnd:
    """Output of the workflow `GamePipeline`."""

    state: PipelineState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """Answer of the query `progress`."""

    state: PipelineState
    reason: str
    message: str
    generation: int
    node_id: str
    progress: Progress
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, kw_only=True)
class CancelOrder:
    """Signal `cancel_pipeline`; a second one only shortens the grace."""

    reason: str = ""
    grace_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Signal `offer_placement`: an allocation stands for this generation."""

    generation: int


@dataclass(frozen=True, kw_only=True)
class NodeLost:
    """Signal `node_lost`."""

    node_id: str
    generation: int


# --- control activities ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SaveRequest:
    """One save: what changed since the last acknowledged revision.

    Guard: `run_id` must own the row (or follow the run that does, `previous_run_id`), `revision`
    must be above the stored one. Events are inserted by (pipeline, number) regardless.
    """

    pipeline_id: str
    run_id: str
    previous_run_id: str = ""
    revision: int
    state: PipelineState
    reason: str = ""
    message: str = ""
    generation: int = 0
    node_id: str = ""
    progress: Progress = field(default_factory=Progress)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    steps: tuple[StepRecord, ...] = ()
    """Only those that changed."""
    events: tuple[PipelineEvent, ...] = ()
    instances: tuple[Instance, ...] = ()
    """Services that came up or were stopped, inserted or updated by id."""
    release: bool = False
    """Release the generation's allocation, unless a live instance still holds it."""
    hold_for_node: bool = False
    """With `release`: the node is unreachable; store a stop order and hold the allocation until
    the node confirms it or is lost."""


class SaveStatus(StrEnum):
    SAVED = "saved"
    STALE_RUN = "stale_run"
    """Another run owns the row."""
    CLOSED = "closed"
    """The row was terminal already; nothing but missing events was written."""
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class SaveAck:
    status: SaveStatus
    state: PipelineState | None = None
    """The row's state when CLOSED."""


@dataclass(frozen=True, kw_only=True)
class PlaceRequest:
    """Input of `place_pipeline`, keyed by (pipeline, generation): repeated, it gets the answer
    that stands. `saved` is written in the same transaction in any case (pending), `placed` when
    there is room (running; the node is filled in)."""

    pipeline_id: str
    generation: int
    run_id: str
    definition_revision: int
    saved: SaveRequest
    placed: SaveRequest
    avoid: tuple[str, ...] = ()
    """Nodes that lost an earlier generation: chosen only when nothing else fits."""


class PlaceStatus(StrEnum):
    PLACED = "placed"
    QUEUED = "queued"
    CLOSED = "closed"
    """The row is terminal or deleted, or another run owns it."""


@dataclass(frozen=True, kw_only=True)
class PlaceAnswer:
    status: PlaceStatus
    placement: Placement | None = None
    summary: str = ""
    """Why it waits, for people."""
    definition: PipelineSpec | None = None
    """Set when the definition changed since the workflow's revision."""
    definition_revision: int = 1
    args: dict[str, str] = field(default_factory=dict)
    """With `definition`, like the names below."""
    env_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """Input of the workflow `Retention` and of `clean_up_pipelines`."""

    retention_seconds: float
    batch: int = 200


@dataclass(frozen=True, kw_only=True)
class WithdrawRequest:
    """Input of `withdraw_placement`: leave the queue and release an offer, if one stands."""

    pipeline_id: str
    generation: int
