"""One step of one generation: its attempts, and the dispatches of each attempt."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.record import StepRecord
    from gamepipe.model.spec import OnNodeLost, Step
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult

from workflows import policy
from workflows.context import RunContext, runs_when_halted
from workflows.dispatch import Dispatch
from workflows.output import bounded
from workflows.stepend import failed, not_delivered, stopped
from workflows.stopping import stop_step
from workflows.waiting import wait_at_most

if TYPE_CHECKING:
    from workflows.generation import Generation


class StepRun:
    """Drives a step to its end; the only place that counts attempts and dispatches."""

    def __init__(self, context: RunContext, generation: "Generation", step: Step) -> None:
        self._context = context
        self._generation = generation
        self._step = step
        self._always = runs_when_halted(step)
        self._began_halted = context.halted
        self._told: StepResult | None = None
        """How the current attempt ended by what a client said of it."""

    async def run(self) -> None:
        """Run attempts until the step ended, the node is lost, or the run before a long wait
        continues as new: the next one goes on with the attempt that stands."""
        attempt = self._record.attempt or 1
        while not self._generation.lost:
            result = await self._attempt(attempt)
            if result is not None and self._was_cut_off(result):
                self._generation.mark_lost()
                return
            another = result is not None and self._conclude(result, attempt)
            self._told = None
            if not another:
                return
            await self._wait_for_retry(attempt)
            if self._interrupted:
                self._end(self._stopped("canceled before the next attempt"))
                return
            attempt += 1

    def _was_cut_off(self, result: StepResult) -> bool:
        """The node heard nothing for the TTL and stopped the step, as if it had been lost: what
        follows is the same, though nobody else noticed."""
        return result.reason == reasons.NODE_LOST and not self._context.halted

    def _conclude(self, result: StepResult, attempt: int) -> bool:
        """Write the attempt's end down; whether another attempt follows."""
        result = bounded(result, self._context, self._step.index)
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
    def _record(self) -> StepRecord:
        return self._context.book.steps[self._step.index]

    @property
    def _must_stop(self) -> bool:
        return self._told is not None or self._interrupted or self._generation.lost

    @property
    def _interrupted(self) -> bool:
        if self._generation.preempted:
            return True
        return self._context.closed or (self._context.halted and not self._outlasts_halt)

    @property
    def _outlasts_halt(self) -> bool:
        """An `always` step is shielded from what halts the rest, before it began or since."""
        return self._always and (self._began_halted or self._context.orderly)

    def _may_retry(self, result: StepResult, attempt: int) -> bool:
        return (
            result.state is StepState.FAILED
            and result.retryable
            and attempt < self._step.retry.max_attempts
            and not self._interrupted
            and not (self._context.orderly and self._context.unreachable)
        )

    async def _wait_for_retry(self, attempt: int) -> None:
        await wait_at_most(
            lambda: self._interrupted or self._generation.lost,
            timedelta(seconds=self._step.retry.delay_seconds(attempt)),
            summary=f"step {self._step.name}: before attempt {attempt + 1}"[:200],
        )

    # --- one attempt ----------------------------------------------------------------------------

    async def _attempt(self, attempt: int) -> StepResult | None:
        """The attempt's end; None: the node was lost under it, or the next run goes on with it."""
        number = self._record.dispatch if self._record.attempt == attempt else 0
        silent = 0
        while True:
            if number and workflow.patched("pause-between-dispatches"):
                await self._pause(silent)
                if self._must_stop:
                    return await self._stop_between(attempt)
                if self._generation.holding:
                    return None
            number += 1
            self._context.alive_dispatches.discard(self._step.index)
            dispatch = self._dispatch(attempt, number)
            result = await self._follow(dispatch)
            if result is not None or self._generation.lost:
                return None if self._generation.lost else result
            silent = 0 if self._is_alive else silent + 1
            if self._gives_up(dispatch, silent):
                return not_delivered(self._generation.node_id, silent)

    @property
    def _is_alive(self) -> bool:
        return self._step.index in self._context.alive_dispatches

    async def _pause(self, silent: int) -> None:
        """Before the same attempt is sent again: longer with each silent dispatch, and while the
        node is known to be away until it is back."""
        context = self._context

        def woken() -> bool:
            return self._must_stop or self._generation.holding or context.halted

        if context.node_away:
            await wait_at_most(
                lambda: woken() or not context.node_away,
                timedelta(seconds=context.start.settings.lost_node_look_seconds),
                summary=f"until node {self._generation.node_id} is back"[:200],
            )
        elif silent:
            await wait_at_most(woken, policy.dispatch_pause(silent), summary="before a dispatch")

    async def _stop_between(self, attempt: int) -> StepResult | None:
        """The end of an attempt that no dispatch follows; the node may run it nevertheless."""
        if self._generation.lost:
            return None
        told = self._told
        await stop_step(self._context, self._generation, self._step, attempt)
        return told or self._stopped("the step was stopped")

    def _gives_up(self, dispatch: Dispatch, silent: int) -> bool:
        """Whether the node had its chances; in a halted run they are few."""
        context = self._context
        if context.halted and context.orderly:
            silent_for_long = silent > 1 or (silent > 0 and dispatch.untaken)
            context.unreachable = context.unreachable or silent_for_long
            return silent_for_long
        patient = context.start.spec.on_node_lost is OnNodeLost.WAIT
        return silent >= context.start.settings.max_dispatches and not patient

    def _dispatch(self, attempt: int, number: int) -> Dispatch:
        if number == 1:
            self._context.begun_by.pop(self._step.index, None)
        self._context.book.dispatch_step(self._step.index, attempt=attempt, dispatch=number)
        self._context.workspace_used = True
        return Dispatch(self._context, self._generation, self._step, attempt=attempt, number=number)

    async def _follow(self, dispatch: Dispatch) -> StepResult | None:
        """Until it ended or must be stopped; None when it ended without an end of the attempt."""
        context = self._context
        await workflow.wait_condition(
            lambda: dispatch.done or self._must_stop or (context.halted and not dispatch.after_halt)
        )
        if not dispatch.done and not self._must_stop:
            outlasted = await self._outlast(dispatch)
            if outlasted is not None:
                return outlasted
        if self._told is not None:
            return await self._replace(dispatch, self._told)
        if dispatch.done:
            return await dispatch.read()
        if self._generation.lost:
            dispatch.abandon()
            return None
        return await self._stop_dispatch(dispatch)

    async def _outlast(self, dispatch: Dispatch) -> StepResult | None:
        """An `always` step runs while the pipeline is halted: it goes on, if its node speaks, and
        no longer than one that begins now may. Its end, when this has to make one."""

        def ended() -> bool:
            return dispatch.done or self._must_stop

        await wait_at_most(lambda: ended() or self._is_alive, self._context.silence_left())
        if not ended() and not self._is_alive:
            self._context.unreachable = True
            dispatch.abandon()
            return not_delivered(self._generation.node_id, 1)
        limit = None if dispatch.limited else policy.ALWAYS_STEP_IN_CANCEL
        if await wait_at_most(ended, limit):
            return None
        await dispatch.stop()
        dispatch.abandon()
        message = "it ran too long after the pipeline was stopped; give it a timeout of its own"
        return failed(reasons.STEP_TIMEOUT, message, retryable=False)

    # --- stopping -------------------------------------------------------------------------------

    async def _replace(self, dispatch: Dispatch, told: StepResult) -> StepResult:
        """The end that a client told, once nothing of the attempt runs any more."""
        if not dispatch.done:
            await self._stop_dispatch(dispatch)
        return told

    async def _stop_dispatch(self, dispatch: Dispatch) -> StepResult:
        if await dispatch.stop():
            await wait_at_most(lambda: dispatch.done, policy.STOPPED_STEP_END)
        if dispatch.done:
            return self._after_stop(await dispatch.read())
        dispatch.abandon()
        return self._stopped("the step was stopped")

    def _after_stop(self, result: StepResult | None) -> StepResult:
        """A step that completed before the stop reached it stays completed."""
        if result is not None and result.state is StepState.COMPLETED:
            return result
        end = self._stopped("the step was stopped")
        if result is None:
            return end
        return replace(result, reason=end.reason, message=end.message, retryable=False)

    def _stopped(self, message: str) -> StepResult:
        if self._generation.preempted:
            message = f"made room for {self._generation.preempted_for}"
            return failed(reasons.PREEMPTED, message, retryable=False)
        return stopped(self._context, self._generation.node_id, message)

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
