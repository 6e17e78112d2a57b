"""What workflows and a node's agent exchange: assignments, results, reports, stop orders."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gamepipe.model.record import Instance
from gamepipe.model.spec import Step
from gamepipe.model.state import StepState

ORDER_HEARTBEAT_SECONDS = 5.0
"""Heartbeat timeout of every order to a node (not of steps, which say their own): an order whose
agent died is sent again that soon. The agent sends one per third of it."""


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
    run_id: str | None = None
    """The workflow run that began the attempt, if it has continued as new since. None: the one that
    asks."""


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
    outputs: dict[str, str] = field(default_factory=dict)
    """Of progress: those that the step has written since the last report. Its end has all of them;
    with neither percent nor message, those of before stand."""


@dataclass(frozen=True, kw_only=True)
class StopStep:
    """Input of `stop_step`. Returns when the container or process group is gone; remembered when
    it comes before its `run_step`, which is then refused. `attempt` None: every attempt."""

    pipeline_id: str
    generation: int
    step_index: int
    attempt: int | None
    grace_seconds: float
    run_id: str | None = None
    """As in `StepAssignment`."""


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
    node_id: str = ""
    """Where it ended; an instance of the same id elsewhere is another one."""
    end: InstanceEnd


@dataclass(frozen=True, kw_only=True)
class CleanWorkspace:
    """Input of `clean_workspace`; idempotent. Removes the workspace, containers, shim files."""

    pipeline_id: str
    generation: int
