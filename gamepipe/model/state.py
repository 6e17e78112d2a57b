"""States of pipelines, steps, nodes and instances, each beside its table of legal transitions.

Pipeline::

    not_started -> pending -> running -> completed | failed | canceled
    not_started | pending -> canceled | failed
    running -> pending                      only for a new generation

Step::

    pending -> running -> completed | failed
    pending -> skipped | failed
    running -> pending                      the next attempt
    any     -> pending                      only for a new generation

Finer facts are a `reason` code (UPPER_SNAKE, see `gamepipe.model.reason`) and a `message`.
"""

from enum import StrEnum


class PipelineState(StrEnum):
    NOT_STARTED = "not_started"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        return not PIPELINE_TRANSITIONS[self]

    def may_become(self, target: "PipelineState", *, new_generation: bool = False) -> bool:
        """Whether the transition is legal; `running -> pending` only for a new generation."""
        if (self, target) == (PipelineState.RUNNING, PipelineState.PENDING):
            return new_generation
        return target in PIPELINE_TRANSITIONS[self]


PIPELINE_TRANSITIONS: dict[PipelineState, frozenset[PipelineState]] = {
    PipelineState.NOT_STARTED: frozenset(
        {PipelineState.PENDING, PipelineState.CANCELED, PipelineState.FAILED}
    ),
    PipelineState.PENDING: frozenset(
        {PipelineState.RUNNING, PipelineState.CANCELED, PipelineState.FAILED}
    ),
    PipelineState.RUNNING: frozenset(
        {
            PipelineState.PENDING,
            PipelineState.COMPLETED,
            PipelineState.FAILED,
            PipelineState.CANCELED,
        }
    ),
    PipelineState.COMPLETED: frozenset(),
    PipelineState.FAILED: frozenset(),
    PipelineState.CANCELED: frozenset(),
}


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_terminal(self) -> bool:
        return not STEP_TRANSITIONS[self]

    def may_become(self, target: "StepState", *, new_generation: bool = False) -> bool:
        """Whether the transition is legal; a new generation sets every step to pending."""
        if new_generation and target is StepState.PENDING:
            return True
        return target in STEP_TRANSITIONS[self]


STEP_TRANSITIONS: dict[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset({StepState.RUNNING, StepState.SKIPPED, StepState.FAILED}),
    StepState.RUNNING: frozenset({StepState.COMPLETED, StepState.FAILED, StepState.PENDING}),
    StepState.COMPLETED: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.SKIPPED: frozenset(),
}


class NodeState(StrEnum):
    """Set by people."""

    NORMAL = "normal"
    MAINTENANCE = "maintenance"
    DISABLED = "disabled"

    def may_become(self, target: "NodeState") -> bool:
        return target in NODE_TRANSITIONS[self]


NODE_TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    NodeState.NORMAL: frozenset({NodeState.MAINTENANCE, NodeState.DISABLED}),
    NodeState.MAINTENANCE: frozenset({NodeState.NORMAL, NodeState.DISABLED}),
    NodeState.DISABLED: frozenset({NodeState.NORMAL}),
}


class Connectivity(StrEnum):
    """Observed; a separate fact from `NodeState`."""

    ONLINE = "online"
    SUSPECT = "suspect"
    LOST = "lost"


class InstanceState(StrEnum):
    """`running <-> unhealthy -> stopping -> stopped | exited | lost`."""

    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    STOPPED = "stopped"
    EXITED = "exited"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        return not INSTANCE_TRANSITIONS[self]

    def may_become(self, target: "InstanceState") -> bool:
        return target in INSTANCE_TRANSITIONS[self]


_INSTANCE_ENDS = frozenset({InstanceState.STOPPED, InstanceState.EXITED, InstanceState.LOST})
INSTANCE_TRANSITIONS: dict[InstanceState, frozenset[InstanceState]] = {
    InstanceState.RUNNING: frozenset({InstanceState.UNHEALTHY, InstanceState.STOPPING})
    | _INSTANCE_ENDS,
    InstanceState.UNHEALTHY: frozenset({InstanceState.RUNNING, InstanceState.STOPPING})
    | _INSTANCE_ENDS,
    InstanceState.STOPPING: _INSTANCE_ENDS,
    InstanceState.STOPPED: frozenset(),
    InstanceState.EXITED: frozenset(),
    InstanceState.LOST: frozenset(),
}
