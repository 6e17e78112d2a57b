"""Input, output, signals and the query of the workflow `GamePipeline`."""

from dataclasses import dataclass, field

from gamepipe.model.record import Progress, StepRecord
from gamepipe.model.run import BookState
from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import PipelineState, StepState


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
    lost_node_look_seconds: float = 600.0
    """`on_node_lost: wait`: how often a step is tried on a lost node without news of its return."""


@dataclass(frozen=True, kw_only=True)
class CarriedRun:
    """What a run that continues as new hands to the next: everything acknowledged by the store."""

    book: BookState
    revision: int
    lost_nodes: tuple[str, ...] = ()
    placement: Placement | None = None
    workspace_used: bool = False
    node_away: bool = False
    unconfirmed: tuple[int, ...] = ()
    """Steps whose stop the node has not confirmed."""
    dropped_output_bytes: int = 0
    """Of outputs that no step may ask for any more: not carried, but they count."""
    begun_by: dict[int, str] = field(default_factory=dict)
    """Step index -> the run that began its attempt, which goes on: to its node that is its name."""


@dataclass(frozen=True, kw_only=True)
class PipelineStart:
    """Input of the workflow `GamePipeline`. `carried` is set only when it continues as new."""

    pipeline_id: str
    incarnation: str = ""
    """Of the row: the store answers the run of another one as if its pipeline were deleted."""
    spec: PipelineSpec
    args: dict[str, str] = field(default_factory=dict)
    env_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    definition_revision: int = 1
    settings: RunSettings = field(default_factory=RunSettings)
    recorded_saves: bool = False
    """What it asks of the store stands in its history; not so in runs that began before."""
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
class Preempt:
    """Signal `preempt`: leave the node that this generation is on, and wait in the queue again.
    Repeats are harmless; one that does not run, is ending or has a service up ignores it."""

    generation: int
    for_pipeline: str
    """Id of the pipeline of a higher class that needs the room."""


@dataclass(frozen=True, kw_only=True)
class NodeLost:
    """Signal `node_lost`; repeats are harmless."""

    node_id: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class NodeBack:
    """Signal `node_back`: a node that `node_lost` was about is online again."""

    node_id: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class StepStatus:
    """Update `step_status`: what a client that knows only ids says of a step's current attempt."""

    generation: int
    step_index: int
    attempt: int
    state: StepState
    """running, completed or failed."""
    percent: float | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PipelineStatus:
    """Update `pipeline_status`: the present state, `canceled` or `failed`."""

    state: PipelineState
    message: str = ""
