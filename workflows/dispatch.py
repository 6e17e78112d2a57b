"""One scheduling of an attempt: the activity `run_step`, and what its end says of the attempt."""

from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.spec import Step
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult, node_queue
    from gamepipe.wire.soundness import flaw_of

from workflows import policy
from workflows.answer import Rubbish, read_answer
from workflows.context import RunContext
from workflows.stepend import failed
from workflows.stopping import stop_step

if TYPE_CHECKING:
    from workflows.generation import Generation


DISPATCH_ENDS = frozenset(
    {reasons.NOT_DELIVERED, "WorkerShutdown", "ActivityReset", "ActivityPause"}
)
"""Error types that end a dispatch and leave the attempt running on the node. The latter ones come
from the SDK: the agent shut down, or somebody reset or paused the activity in the Web UI."""


class Dispatch:
    """Starts its activity at once."""

    def __init__(
        self,
        context: RunContext,
        generation: "Generation",
        step: Step,
        *,
        attempt: int,
        number: int,
    ) -> None:
        self._context = context
        self._generation = generation
        self._step = step
        self.attempt = attempt
        self.untaken = False
        """Nobody took it from the queue of the node."""
        self.after_halt = context.halted
        assignment = generation.assignment(step, attempt, number)
        self.limited = assignment.timeout_seconds is not None
        self._cleans = context.clean_ordered = assignment.clean_after
        self._assignment = assignment
        self._activity: workflow.ActivityHandle[RawValue] = workflow.start_activity(
            "run_step",
            assignment,
            result_type=RawValue,
            task_queue=node_queue(generation.node_id),
            activity_id=f"g{generation.number}.s{step.index}.a{attempt}.d{number}",
            schedule_to_start_timeout=context.delivery(
                timedelta(seconds=context.start.settings.schedule_to_start_seconds)
            ),
            heartbeat_timeout=timedelta(seconds=assignment.heartbeat_seconds),
            start_to_close_timeout=self._longest(assignment.timeout_seconds),
            retry_policy=policy.ONE_TRY,
            summary=f"step {step.name}, attempt {attempt}, {generation.node_id}"[:200],
        )

    def _longest(self, limit: float | None) -> timedelta:
        if limit is None:
            return policy.UNLIMITED
        return timedelta(seconds=limit) + policy.STEP_MARGIN + self._context.grace

    @property
    def done(self) -> bool:
        return self._activity.done()

    def abandon(self) -> None:
        """Nobody waits for it any more; what runs on the node is another matter."""
        self._activity.cancel()

    async def read(self) -> StepResult | None:
        """How the attempt ended; None: only the dispatch did."""
        try:
            result = self._sound(read_answer(await self._activity, StepResult))
        except ActivityError as error:
            return await self._translate(error)
        except Rubbish as error:
            return failed(reasons.RUNNER_ERROR, f"the agent failed: {error}")
        self._context.cleaned_by_agent = self._cleans and result.state is StepState.COMPLETED
        return result

    def _sound(self, result: StepResult) -> StepResult:
        if flaw := flaw_of(result, self._assignment, self._generation.node_id):
            raise Rubbish(f"{flaw}, in what it answered")
        return result

    async def _translate(self, error: ActivityError) -> StepResult | None:
        cause = error.cause
        if isinstance(cause, ActivityTimeout) and cause.type is not TimeoutType.START_TO_CLOSE:
            self.untaken = cause.type is TimeoutType.SCHEDULE_TO_START
            return None
        if isinstance(cause, ApplicationError) and cause.type in DISPATCH_ENDS:
            return None
        if isinstance(cause, CancelledError):
            return None  # nobody here asked for it
        if isinstance(cause, ActivityTimeout):
            await self.stop()
            return failed(reasons.STEP_TIMEOUT, "the node did not stop the step in time")
        return failed(reasons.RUNNER_ERROR, f"the agent failed: {cause or error}"[:500])

    async def stop(self) -> bool:
        """Stop the attempt on its node; False when the node does not confirm it."""
        return await stop_step(self._context, self._generation, self._step, self.attempt)
