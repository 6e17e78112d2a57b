"""What the store holds about pipelines, as frozen values that cross the store's port."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gamepipe.model.explanation import Explanation
from gamepipe.model.spec import PipelineSpec, Resources
from gamepipe.model.state import InstanceState, PipelineState, StepState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """`ended` of `total` steps; `current` names those running; `percent` counts partial steps."""

    ended: int = 0
    total: int = 0
    current: tuple[str, ...] = ()
    percent: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One step in one generation."""

    index: int
    name: str
    generation: int = 1
    state: StepState = StepState.PENDING
    attempt: int = 0
    """The current or last attempt; 0: none yet."""
    dispatch: int = 0
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    percent: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    log_lines: int = 0
    """Lines of the last ended attempt: a reader that has so many has them all."""

    @property
    def attempt_ended(self) -> bool:
        """Whether nothing runs of the current attempt any more. A step that waits for its next one
        is pending, and says when the last one ended; sending an attempt out takes that away."""
        return self.state.is_terminal or self.ended_at is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRecord:
    """One placement of a pipeline with all that ran under it."""

    number: int
    node_id: str
    placed_at: datetime
    released_at: datetime | None = None
    explanation: Explanation | None = None
    """How its node was chosen; None where that was not kept."""
    preempted_for: str = ""
    """Id of the pipeline that it made room for."""
    steps: tuple[StepRecord, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPipeline:
    """A validated pipeline to store. `envs` and `secrets` are values; they never leave the store
    except to the node that holds the attempt which needs them."""

    id: str
    spec: PipelineSpec
    args: dict[str, str] = field(default_factory=dict)
    envs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    content_digest: str = ""
    """Of spec, args, envs and secrets: the same id with another digest is a conflict."""
    incarnation: str = ""
    """Empty: the store makes one (see `PipelineRecord`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRecord:
    """A pipeline as people see it; `steps` are those of the current generation, by index."""

    id: str
    incarnation: str = ""
    """Which life of this id it is: another one after each deletion."""
    spec: PipelineSpec
    args: dict[str, str]
    env_names: tuple[str, ...]
    """Names of the envs that have a value (values are never shown)."""
    secret_names: tuple[str, ...]
    name: str
    tenant: str
    labels: dict[str, str]
    priority: int
    state: PipelineState
    reason: str = ""
    message: str = ""
    generation: int = 0
    """0: not placed yet."""
    node_id: str = ""
    definition_revision: int = 1
    run_id: str = ""
    """The Temporal run that owns the state; empty before its first save."""
    revision: int = 0
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress = field(default_factory=Progress)
    steps: tuple[StepRecord, ...] = ()


class EventKind(StrEnum):
    """Past tense; `data` of each is JSON without secrets."""

    PIPELINE_CREATED = "pipeline_created"
    PIPELINE_CHANGED = "pipeline_changed"
    PIPELINE_STATE_CHANGED = "pipeline_state_changed"
    PIPELINE_RESET = "pipeline_reset"
    PIPELINE_DELETED = "pipeline_deleted"
    STEP_STATE_CHANGED = "step_state_changed"
    STEP_PROGRESSED = "step_progressed"
    ATTEMPT_ENDED = "attempt_ended"
    GENERATION_STARTED = "generation_started"
    NODE_REGISTERED = "node_registered"
    NODE_STATE_CHANGED = "node_state_changed"
    NODE_STATE_TAKEN = "node_state_taken"
    NODE_CONNECTIVITY_CHANGED = "node_connectivity_changed"
    INSTANCE_STATE_CHANGED = "instance_state_changed"


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineEvent:
    """An event of one pipeline's workflow; `number` counts from 1 without gaps per pipeline run
    of the workflow, so that a repeated save inserts it once."""

    number: int
    kind: EventKind
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """`id` orders all events of the store; readable only when every lower id is."""

    id: int
    kind: EventKind
    at: datetime
    pipeline_id: str = ""
    node_id: str = ""
    instance_id: str = ""
    number: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """A `service` container that outlives its pipeline: the running game."""

    id: str
    pipeline_id: str
    generation: int
    step_index: int
    step_name: str
    attempt: int
    node_id: str
    state: InstanceState = InstanceState.RUNNING
    container_id: str = ""
    container_name: str = ""
    image: str = ""
    ports: dict[str, str] = field(default_factory=dict)
    """`8080/tcp` -> `0.0.0.0:32768`."""
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """The resources held on a node; live while `released_at` is None."""

    pipeline_id: str
    generation: int
    node_id: str
    resources: Resources
    gpu_devices: tuple[int, ...] = ()
    host_ports: tuple[str, ...] = ()
    """`tcp/8080`."""
    created_at: datetime
    taken_at: datetime | None = None
    """None: an offer that the workflow has not taken yet."""
    released_at: datetime | None = None
    queued_at: datetime | None = None
    """Its place in the queue: when it asked; if it was preempted since, when it asked before that.
    None: unknown."""
    tenant: str = "default"
    template: str = ""
    priority: int = 0
    preemptible: bool = False
    """It may be preempted: it said so, and no service of it is up."""
    preempted_for: str = ""
    """Id of the pipeline of a higher class that it was asked to make room for."""
    preempted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Why a node was not chosen: a stable `code` and a sentence."""

    node_id: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEntry:
    """A pipeline that waits for a placement."""

    pipeline_id: str
    generation: int
    priority: int
    queued_at: datetime
    summary: str
    verdicts: tuple[Verdict, ...] = ()
    reason: str = ""
    """NO_CAPACITY or LIMIT_REACHED."""
    avoid: tuple[str, ...] = ()
    """Nodes that lost an earlier generation."""


class LogStream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    SYSTEM = "system"
    """Written by the agent about the step: pull progress, adoption, stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """`number` counts from 1 per (pipeline, generation, step, attempt), without gaps."""

    number: int
    at: datetime
    stream: LogStream
    text: str
    continued: bool = False
    """The rest of a line over 64 KiB follows in the next one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptKey:
    """One attempt; two attempts of one step never run at the same time."""

    pipeline_id: str
    generation: int
    step_index: int
    attempt: int

    @property
    def path(self) -> str:
        """Relative folder of the attempt: named by id and numbers, never by users' texts."""
        return f"{self.pipeline_id}/g{self.generation}/step-{self.step_index}/a{self.attempt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StopOrder:
    """A stop that a node must carry out and confirm before it takes anything new."""

    id: int
    node_id: str
    pipeline_id: str
    generation: int
    step_index: int | None = None
    """None: everything of that generation."""
    instance_id: str = ""
    created_at: datetime
