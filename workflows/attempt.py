"""One step of one generation: its attempts, and the dispatches of each attempt."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.spec import OnNodeLost, Step
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult, node_queue

from workflows import policy
from workflows.context import HaltKind, RunContext
from workflows.waiting import wait_at_most

if TYPE_CHECKING:
    from workflows.generation import Generation


DISPATCH_ENDS = frozenset(
    {reasons.NOT_DELIVERED, "WorkerShutdown", "ActivityReset", "ActivityPause"}
)
"""Error types that end a dispatch and leave the attempt running on the node. The latter ones come
from the SDK: the agent shut down, or somebody reset or paused the activity in the Web UI."""


class StepRun:
    """Drives a step to its end; the only place that counts attempts and dispatches."""

    def __init__(self, context: RunContext, generation: "Generation", step: Step) -> None:
        self._context = context
        self._generation = generation
        self._step = step
        self._cleaning = context.halted
        """An `always` step of a canceled pipeline: the halt does not stop it."""
        self._told: StepResult | None = None
        """How the current attempt ended by what a client said of it."""

    async def run(self) -> None:
        """Run attempts until the step ended or the node is lost."""
        attempt = 0
        while not self._generation.lost:
            attempt += 1
            result = await self._attempt(attempt)
            another = result is not None and self._conclude(result, attempt)
            self._told = None
            if not another:
                return
            await self._wait_for_retry(attempt)
            if self._interrupted:
                self._end(self._canceled("canceled before the next attempt"))
                return

    def _conclude(self, result: StepResult, attempt: int) -> bool:
        """Write the attempt's end down; whether another attempt follows."""
        if not self._may_retry(result, attempt):
            self._end(result)
            return False
        self._record_failed_attempt(result, attempt)
        return True

    async def end_from_outside(self, result: StepResult) -> None:
        """A client says how the current attempt ended: stop what runs of it, then let that count.
        Returns once it does; what the node still says of the attempt comes too late."""
        self._told = result
        await workflow.wait_condition(lambda: self._told is None)

    @property
    def _must_stop(self) -> bool:
        return self._told is not None or self._interrupted or self._generation.lost

    @property
    def _interrupted(self) -> bool:
        return self._context.closed or (self._context.halted and not self._cleaning)

    def _may_retry(self, result: StepResult, attempt: int) -> bool:
        return (
            result.state is StepState.FAILED
            and result.retryable
            and attempt < self._step.retry.max_attempts
            and not self._interrupted
        )

    async def _wait_for_retry(self, attempt: int) -> None:
        await wait_at_most(
            lambda: self._interrupted or self._generation.lost,
            timedelta(seconds=self._step.retry.delay_seconds(attempt)),
            summary=f"step {self._step.name}: before attempt {attempt + 1}"[:200],
        )

    # --- one attempt ----------------------------------------------------------------------------

    async def _attempt(self, attempt: int) -> StepResult | None:
        """The attempt's end; None when the node was lost under it."""
        silent = dispatch = 0
        while True:
            dispatch += 1
            silent += 1
            self._context.alive_dispatches.discard(self._step.index)
            result = await self._dispatch(attempt, dispatch)
            if result is not None or self._generation.lost:
                return None if self._generation.lost else result
            if self._step.index in self._context.alive_dispatches:
                silent = 0
            if silent >= self._context.start.settings.max_dispatches and not self._patient:
                return self._not_delivered(silent)

    @property
    def _patient(self) -> bool:
        return self._context.start.spec.on_node_lost is OnNodeLost.WAIT

    async def _dispatch(self, attempt: int, dispatch: int) -> StepResult | None:
        """One activity; None when it ended without saying how the attempt ended."""
        self._context.book.dispatch_step(self._step.index, attempt=attempt, dispatch=dispatch)
        self._context.workspace_used = True
        activity = self._start_activity(attempt, dispatch)
        await workflow.wait_condition(
            lambda: (
                activity.done()
                or self._told is not None
                or self._interrupted
                or self._generation.lost
            )
        )
        if self._told is not None:
            return await self._replace(activity, attempt, self._told)
        if not activity.done():
            if self._generation.lost:
                activity.cancel()
                return None
            return await self._stop_dispatch(activity, attempt)
        return await self._read(activity, attempt)

    async def _replace(
        self, activity: workflow.ActivityHandle[StepResult], attempt: int, told: StepResult
    ) -> StepResult:
        """The end that a client told, once nothing of the attempt runs any more."""
        if not activity.done():
            await self._stop_dispatch(activity, attempt)
        return told

    def _start_activity(self, attempt: int, dispatch: int) -> workflow.ActivityHandle[StepResult]:
        assignment = self._generation.assignment(self._step, attempt, dispatch)
        self._context.cleaned_by_agent = assignment.clean_after
        settings = self._context.start.settings
        limit = assignment.timeout_seconds
        margin = policy.STEP_MARGIN + self._context.grace
        return workflow.start_activity(
            "run_step",
            assignment,
            result_type=StepResult,
            task_queue=node_queue(self._generation.node_id),
            activity_id=self._activity_id(attempt, dispatch),
            schedule_to_start_timeout=timedelta(seconds=settings.schedule_to_start_seconds),
            heartbeat_timeout=timedelta(seconds=settings.heartbeat_seconds),
            start_to_close_timeout=(
                policy.UNLIMITED if limit is None else timedelta(seconds=limit) + margin
            ),
            retry_policy=policy.ONE_TRY,
            summary=self._summary(attempt),
        )

    def _activity_id(self, attempt: int, dispatch: int) -> str:
        return f"g{self._generation.number}.s{self._step.index}.a{attempt}.d{dispatch}"

    def _summary(self, attempt: int) -> str:
        return f"step {self._step.name}, attempt {attempt}, {self._generation.node_id}"[:200]

    async def _read(
        self, activity: workflow.ActivityHandle[StepResult], attempt: int
    ) -> StepResult | None:
        try:
            return await activity
        except ActivityError as error:
            return await self._translate(error, attempt)

    async def _translate(self, error: ActivityError, attempt: int) -> StepResult | None:
        """What an activity that failed says about the attempt; None: only the dispatch ended."""
        cause = error.cause
        if isinstance(cause, ActivityTimeout) and cause.type is not TimeoutType.START_TO_CLOSE:
            return None
        if isinstance(cause, ApplicationError) and cause.type in DISPATCH_ENDS:
            return None
        if isinstance(cause, CancelledError):
            return None  # nobody here asked for it
        if isinstance(cause, ActivityTimeout):
            await self._stop(attempt)
            return self._failed(reasons.STEP_TIMEOUT, "the node did not stop the step in time")
        return self._failed(reasons.RUNNER_ERROR, f"the agent failed: {cause or error}"[:500])

    # --- stopping -------------------------------------------------------------------------------

    async def _stop_dispatch(
        self, activity: workflow.ActivityHandle[StepResult], attempt: int
    ) -> StepResult:
        if await self._stop(attempt):
            await wait_at_most(activity.done, policy.STOPPED_STEP_END)
        if activity.done():
            result = await self._read(activity, attempt)
            return self._after_stop(result)
        activity.cancel()
        return self._canceled("the step was stopped")

    def _after_stop(self, result: StepResult | None) -> StepResult:
        """A step that completed before the stop reached it stays completed."""
        if result is not None and result.state is StepState.COMPLETED:
            return result
        canceled = self._canceled("the step was stopped")
        if result is None:
            return canceled
        return replace(result, reason=canceled.reason, message=canceled.message, retryable=False)

    async def _stop(self, attempt: int) -> bool:
        """Stop the attempt on its node; False when the node does not answer."""
        stopped = await self._generation.stop_step(self._step, attempt)
        if not stopped:
            self._context.unreachable = True
        return stopped

    # --- ends -----------------------------------------------------------------------------------

    def _record_failed_attempt(self, result: StepResult, attempt: int) -> None:
        book, index = self._context.book, self._step.index
        if result.started_at is not None:
            book.run_step(index, attempt=attempt, at=result.started_at)
        book.end_attempt(
            index, reason=result.reason, message=result.message, exit_code=result.exit_code
        )

    def _end(self, result: StepResult) -> None:
        book, index = self._context.book, self._step.index
        started = result.started_at
        if result.state is StepState.COMPLETED:
            started = started or result.ended_at
        if started is not None:
            book.run_step(index, attempt=book.steps[index].attempt, at=started)
        book.end_step(
            index,
            result.state,
            reason=result.reason,
            message=result.message,
            exit_code=result.exit_code,
            outputs=result.outputs,
            ended_at=result.ended_at,
            log_lines=result.log_lines,
        )
        if result.instance is not None:
            book.add_instance(result.instance)

    def _failed(self, reason: str, message: str, *, retryable: bool = True) -> StepResult:
        return StepResult(
            state=StepState.FAILED,
            started_at=None,
            ended_at=workflow.now(),
            reason=reason,
            message=message,
            retryable=retryable,
        )

    def _not_delivered(self, dispatches: int) -> StepResult:
        return self._failed(
            reasons.NOT_DELIVERED,
            f"node {self._generation.node_id} did not take the step in {dispatches} dispatches",
        )

    def _canceled(self, message: str) -> StepResult:
        halt = self._context.halt
        if halt is not None and halt.kind is HaltKind.TIMEOUT:
            return self._failed(reasons.PIPELINE_TIMEOUT, halt.message, retryable=False)
        if self._context.unreachable:
            message = f"node {self._generation.node_id} did not confirm that the step stopped"
        return self._failed(reasons.CANCELED, message, retryable=False)
