"""What the parts of one run share: its input, its book, the saver, and what interrupts it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.expression import is_always
    from gamepipe.model.run import RunBook
    from gamepipe.model.spec import Step
    from gamepipe.model.state import StepState
    from gamepipe.wire import CancelOrder, CarriedRun, NodeLost, PipelineStart, Placement, Preempt
    from workflows.carrying import size_of, without_needless_outputs
    from workflows.saver import Saver

from workflows import policy


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
    at: float
    """Seconds, by the clock of the workflow."""


def runs_when_halted(step: Step) -> bool:
    """Whether what stops the pipeline leaves the step alone."""
    return step.always or bool(step.condition and is_always(step.condition))


class RunContext:
    """Shared by the workflow and its steps; everything in it lives in one workflow run."""

    def __init__(self, start: PipelineStart) -> None:
        self.start = start
        self.book = RunBook(start.spec, now=workflow.now)
        self.saver = Saver(start, self.book)
        self.halt: Halt | None = None
        self.orderly = False
        """Of a halted run: `always` steps that run go on, and a silent node is given up soon."""
        self.unreachable = False
        """The run ends and the node does not answer: nothing more can be asked of it."""
        self.unconfirmed: set[int] = set()
        """Indices of steps whose stop this node has not confirmed: something of them may run."""
        self.node_away = False
        """`on_node_lost: wait`, and the node is known to be lost."""
        self.dropped_output_bytes = 0
        """Of outputs of this generation that the runs before did not carry on."""
        self.workspace_used = False
        self.clean_ordered = False
        """The last dispatch carried the order to remove the workspace behind the step."""
        self.cleaned_by_agent = False
        """It did, for that step completed."""
        self.placement: Placement | None = None
        self.early_preempt: Preempt | None = None
        """It came before the answer that brings the placement which it is about."""
        self.early_loss: NodeLost | None = None
        """So did this."""
        self.lost_nodes: tuple[str, ...] = ()
        self.give_up_reason: tuple[str, str] | None = None
        self.redefined = 0
        """How often a placement brought another definition with other timeouts."""
        self.begun_by: dict[int, str] = {}
        """Step index -> the run before this one that began its attempt, which goes on."""
        self._ordered_grace: float | None = None
        self.alive_dispatches: set[int] = set()
        """Indices of steps that reported since their last dispatch."""

    @property
    def halted(self) -> bool:
        return self.halt is not None

    @property
    def closed(self) -> bool:
        return self.halt is not None and self.halt.kind is HaltKind.CLOSED

    @property
    def grace_seconds(self) -> float:
        """What a cancel asked for, else the definition, else the service."""
        if self._ordered_grace is not None:
            return self._ordered_grace
        grace = self.start.spec.timeouts.grace_seconds
        return self.start.settings.grace_seconds if grace is None else grace

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.grace_seconds)

    def cancel(self, order: CancelOrder) -> None:
        """Halt, unless it is too late for that."""
        if not self.book.state.is_terminal:
            message = order.reason or "canceled on request"
            self.halt_for(HaltKind.CANCEL, message, order.grace_seconds)

    def halt_for(self, kind: HaltKind, message: str, grace_seconds: float | None = None) -> None:
        """Stop dispatching. The first halt decides; a later one may only shorten the grace."""
        if grace_seconds is not None and (self.halt is None or grace_seconds < self.grace_seconds):
            self._ordered_grace = grace_seconds
        if self.halt is None or kind is HaltKind.CLOSED:
            if self.halt is None:
                self.orderly = workflow.patched("orderly-halt")
            self.halt = Halt(kind=kind, message=message, at=workflow.time())
            self.tell_of_cancel()

    def tell_of_cancel(self) -> None:
        """Not before the placement that is under way: its own event has its number already."""
        halt = self.halt
        if halt is None or halt.kind is not HaltKind.CANCEL or self.book.state.is_terminal:
            return
        if not self.saver.placing:
            self.explain(reasons.CANCELING, halt.message)

    def silence_left(self) -> timedelta:
        """Of a halted run: until a node that says nothing counts as out of reach."""
        begun = workflow.time() if self.halt is None else self.halt.at
        used = timedelta(seconds=workflow.time() - begun)
        return max(self.grace + policy.UNREACHABLE_AFTER - used, timedelta())

    def delivery(self, usual: timedelta) -> timedelta:
        """How long a node has to take a dispatch: little, once the run is halted."""
        if not self.orderly:
            return usual
        limit = min(usual, policy.STOP_DELIVERY, self.silence_left() or policy.STOP_DELIVERY)
        return max(limit, policy.LEAST_DELIVERY)

    def answer(self, usual: timedelta) -> timedelta:
        """How long a node has to carry an order out."""
        if not self.orderly:
            return usual
        return min(usual, max(self.silence_left(), policy.LEAST_ANSWER))

    @property
    def heartbeat_seconds(self) -> float:
        usual = self.start.settings.heartbeat_seconds
        return min(usual, policy.HALTED_HEARTBEAT.total_seconds()) if self.orderly else usual

    def leave_node(self) -> None:
        """What was true of the node that was lost says nothing about the next one."""
        self.unreachable = self.node_away = False
        self.unconfirmed.clear()
        self.begun_by.clear()
        self.workspace_used = self.clean_ordered = self.cleaned_by_agent = False
        self.dropped_output_bytes = 0
        self.alive_dispatches.clear()

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
        book = without_needless_outputs(self.book.snapshot(), self.start.spec)
        dropped = size_of(self.book.steps) - size_of(book.steps)
        return CarriedRun(
            book=book,
            dropped_output_bytes=self.dropped_output_bytes + dropped,
            revision=self.saver.revision,
            lost_nodes=self.lost_nodes,
            placement=self.placement,
            workspace_used=self.workspace_used,
            node_away=self.node_away,
            unconfirmed=tuple(sorted(self.unconfirmed)),
            begun_by=self._begun(),
        )

    def _begun(self) -> dict[int, str]:
        """What may run on its node while nobody here waits for it."""
        own = workflow.info().run_id
        return {
            step.index: self.begun_by.get(step.index, own)
            for step in self.book.steps
            if step.attempt and not (step.attempt_ended or step.state.is_terminal)
        }

    def restore(self) -> None:
        """Take over what the run before handed on, if there was one."""
        carried = self.start.carried
        if carried is None:
            return
        self.book.restore(carried.book)
        self.lost_nodes = carried.lost_nodes
        self.placement = carried.placement
        self.workspace_used = carried.workspace_used
        self.node_away = carried.node_away
        self.unconfirmed.update(carried.unconfirmed)
        self.dropped_output_bytes = carried.dropped_output_bytes
        self.begun_by.update(carried.begun_by)
        if carried.placement is not None:
            self.saver.node_id = carried.placement.node_id
