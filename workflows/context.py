"""What the parts of one run share: its input, its book, the saver, and what interrupts it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.run import RunBook
    from gamepipe.model.state import StepState
    from gamepipe.wire import CarriedRun, PipelineStart, Placement
    from workflows.saver import Saver


class HaltKind(StrEnum):
    CANCEL = "cancel"
    TIMEOUT = "timeout"
    FAIL = "fail"
    """A client reported the pipeline as failed."""
    CLOSED = "closed"
    """The store says that the pipeline ended or belongs to another run."""


@dataclass(frozen=True, kw_only=True)
class Halt:
    """Why the run stops dispatching steps. `always` steps still run, except when closed."""

    kind: HaltKind
    message: str


class RunContext:
    """Shared by the workflow and its steps; everything in it lives in one workflow run."""

    def __init__(self, start: PipelineStart) -> None:
        self.start = start
        self.book = RunBook(start.spec, now=workflow.now)
        self.saver = Saver(start, self.book)
        self.halt: Halt | None = None
        self.unreachable = False
        """The node did not answer a stop: nothing more can be asked of it."""
        self.workspace_used = False
        self.cleaned_by_agent = False
        """The last step carried the order to remove the workspace behind itself."""
        self.placement: Placement | None = None
        self.lost_nodes: tuple[str, ...] = ()
        self.give_up_reason: tuple[str, str] | None = None
        timeouts = start.spec.timeouts
        grace = timeouts.grace_seconds
        self.grace_seconds = start.settings.grace_seconds if grace is None else grace
        self.alive_dispatches: set[int] = set()
        """Indices of steps that reported since their last dispatch."""

    @property
    def halted(self) -> bool:
        return self.halt is not None

    @property
    def closed(self) -> bool:
        return self.halt is not None and self.halt.kind is HaltKind.CLOSED

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.grace_seconds)

    def halt_for(self, kind: HaltKind, message: str, grace_seconds: float | None = None) -> None:
        """Stop dispatching. The first halt decides; a later one may only shorten the grace."""
        if grace_seconds is not None and (self.halt is None or grace_seconds < self.grace_seconds):
            self.grace_seconds = grace_seconds
        if self.halt is None or kind is HaltKind.CLOSED:
            self.halt = Halt(kind=kind, message=message)
            if kind is HaltKind.CANCEL and not self.book.state.is_terminal:
                self.explain(reasons.CANCELING, message)

    def explain(self, reason: str, message: str) -> None:
        """Say why the state is as it is, and save that at once."""
        self.book.explain(reason, message)
        self.saver.hurry()

    def lose_steps(self, reason: str, message: str) -> None:
        """End every step that is not: what ran failed, what did not is skipped."""
        for step in list(self.book.steps):
            if step.state is StepState.RUNNING or (step.attempt and not step.state.is_terminal):
                self.book.end_step(step.index, StepState.FAILED, reason=reason, message=message)
            elif not step.state.is_terminal:
                self.book.end_step(step.index, StepState.SKIPPED, reason=reason, message=message)

    def time_left(self) -> timedelta | None:
        """Until the whole-pipeline timeout, counted from the first `pending`."""
        seconds = self.start.spec.timeouts.pipeline_seconds
        if seconds is None:
            return None
        used = workflow.now() - (self.book.started_at or workflow.now())
        return max(timedelta(seconds=seconds) - used, timedelta())

    # --- continue as new ------------------------------------------------------------------------

    def carry(self) -> CarriedRun:
        """What the next run needs; everything in it is acknowledged by the store."""
        return CarriedRun(
            book=self.book.snapshot(),
            revision=self.saver.revision,
            lost_nodes=self.lost_nodes,
            placement=self.placement,
            workspace_used=self.workspace_used,
        )

    def restore(self) -> None:
        """Take over what the run before handed on, if there was one."""
        carried = self.start.carried
        if carried is None:
            return
        self.book.restore(carried.book)
        self.lost_nodes = carried.lost_nodes
        self.placement = carried.placement
        self.workspace_used = carried.workspace_used
        if carried.placement is not None:
            self.saver.node_id = carried.placement.node_id
