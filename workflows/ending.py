"""The end of a run: services, workspace, the last save."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.outcome import outcome
    from gamepipe.model.record import Instance
    from gamepipe.model.state import InstanceState, PipelineState
    from gamepipe.wire import (
        CleanWorkspace,
        PipelineEnd,
        StopInstanceOrder,
        node_queue,
    )

from workflows import policy, searching
from workflows.context import HaltKind, RunContext
from workflows.generation import Generation, GenerationEnd


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of an order to a node; without either it did not answer."""

    carried_out: bool = False
    error: str = ""


class Ending:
    """Brings a run to its terminal state; nothing here is interrupted by a cancel."""

    def __init__(self, context: RunContext, generation: Generation | None) -> None:
        self._context = context
        self._generation = generation
        self._uncleaned = ""
        """Why the workspace is still there, though its node answers."""

    async def finish(self, end: GenerationEnd | None) -> PipelineEnd:
        """Clean up, save the terminal state until it is acknowledged, and answer it."""
        context = self._context
        lost = end is GenerationEnd.LOST
        if lost:
            context.unreachable = True
        state, reason, message = self._verdict(lost=lost)
        context.lose_steps(reason, message)
        if self._generation is not None:
            await self._clean_up(self._generation, completed=state is PipelineState.COMPLETED)
        for told in filter(None, (self._uncleaned, self._unconfirmed_message())):
            message = f"{message}; {told}" if message else told
        if context.unreachable and state is PipelineState.CANCELED:
            reason, message = reasons.NODE_UNREACHABLE, self._unreachable_message(message)
        context.book.become(state, reason, message)
        searching.show_state(state)
        placed, left = self._generation is not None, self._unconfirmed_beside_a_game(state)
        await context.saver.save(
            release=True,
            hold_for_node=placed and (context.unreachable or bool(context.unconfirmed - left)),
            stop_steps=tuple(sorted(left)),
        )
        return PipelineEnd(state=state, reason=reason, message=message)

    async def vacate(self, generation: Generation, message: str) -> bool:
        """Leave the node: nothing of the generation stays there. False when the run was halted
        meanwhile, whose end sees to the rest."""
        context = self._context
        context.lose_steps(reasons.PREEMPTED, message)
        await self._clean_up(generation, completed=False)
        if context.halted:
            return False
        left = context.unreachable or bool(context.unconfirmed)
        await context.saver.save(release=True, hold_for_node=left)
        return True

    def _unconfirmed_beside_a_game(self, state: PipelineState) -> set[int]:
        """Steps that must be stopped one by one, for the game of their pipeline lives on."""
        completed = state is PipelineState.COMPLETED
        has_game = completed and any(True for _ in self._context.book.live_instances())
        return set(self._context.unconfirmed) if has_game else set()

    def _verdict(self, *, lost: bool) -> tuple[PipelineState, str, str]:
        context = self._context
        halt = context.halt
        if halt is not None:
            return {
                HaltKind.CANCEL: (PipelineState.CANCELED, reasons.CANCELED, halt.message),
                HaltKind.TIMEOUT: (PipelineState.FAILED, reasons.PIPELINE_TIMEOUT, halt.message),
                HaltKind.FAIL: (PipelineState.FAILED, reasons.REPORTED_FAILED, halt.message),
                HaltKind.CLOSED: (PipelineState.FAILED, reasons.WORKFLOW_LOST, halt.message),
            }[halt.kind]
        if context.give_up_reason:
            reason, message = context.give_up_reason
            return PipelineState.FAILED, reason, message
        if lost and self._generation is not None:
            message = f"node {self._generation.node_id} was lost"
            return PipelineState.FAILED, reasons.NODE_LOST, message
        return outcome(context.book)

    def _unreachable_message(self, message: str) -> str:
        node = self._generation.node_id if self._generation else ""
        return f"{message}; node {node} has not confirmed that everything stopped"

    def _unconfirmed_message(self) -> str:
        """Why the node takes nothing new for now, though it answers."""
        steps = [self._context.start.spec.steps[at].name for at in self._context.unconfirmed]
        if not steps or self._generation is None:
            return ""
        names = ", ".join(repr(name) for name in sorted(steps))
        return f"node {self._generation.node_id} has not confirmed that {names} stopped"

    # --- the node -------------------------------------------------------------------------------

    async def _clean_up(self, generation: Generation, *, completed: bool) -> None:
        instances = list(self._context.book.live_instances())
        if completed and instances:
            return
        for instance in instances:
            await self._stop_instance(generation, instance)
        if self._workspace_remains(completed):
            await self._clean_workspace(generation)

    def _workspace_remains(self, completed: bool) -> bool:
        """The agent removed it itself behind a last step that completed."""
        if self._context.unreachable or not self._context.workspace_used:
            return False
        if not completed or self._context.unconfirmed:
            return True
        if self._context.cleaned_by_agent:
            return False
        return not self._context.clean_ordered or workflow.patched("clean-behind-failed-step")

    async def _stop_instance(self, generation: Generation, instance: Instance) -> None:
        """A service of a pipeline that does not complete is stopped, unless out of reach."""
        grace = self._context.grace_seconds
        order = StopInstanceOrder(
            instance_id=instance.id,
            pipeline_id=instance.pipeline_id,
            generation=instance.generation,
            step_index=instance.step_index,
            grace_seconds=grace,
        )
        stopped = (
            not self._context.unreachable
            and (
                await self._ask(
                    generation,
                    "stop_instance",
                    order,
                    timedelta(seconds=grace) + policy.STOP_MARGIN,
                )
            ).carried_out
        )
        self._context.unreachable = self._context.unreachable or not stopped
        state = InstanceState.STOPPED if stopped else InstanceState.LOST
        self._context.book.end_instance(instance.id, state=state, reason=reasons.CANCELED)

    async def _clean_workspace(self, generation: Generation) -> None:
        order = CleanWorkspace(
            pipeline_id=self._context.start.pipeline_id, generation=generation.number
        )
        limit = self._context.answer(policy.CLEAN_UP + policy.STOP_MARGIN)
        answer = await self._ask(generation, "clean_workspace", order, limit)
        if answer.error:
            self._uncleaned = (
                f"node {generation.node_id} did not remove the workspace: {answer.error}"
            )
        else:
            self._context.unreachable = not answer.carried_out
        if answer.carried_out:  # which ends what still runs there
            self._context.unconfirmed.clear()

    async def _ask(
        self,
        generation: Generation,
        activity: str,
        order: object,
        limit: timedelta,
    ) -> Answer:
        """An order that its activity completed was carried out, whatever the answer says."""
        try:
            await workflow.execute_activity(
                activity,
                order,
                result_type=RawValue,
                task_queue=node_queue(generation.node_id),
                schedule_to_start_timeout=policy.CLEAN_UP_DELIVERY,
                schedule_to_close_timeout=limit,
                heartbeat_timeout=policy.ORDER_HEARTBEAT,
                retry_policy=policy.DELIVER,
                summary=f"{activity}, {generation.node_id}"[:200],
            )
        except ActivityError as error:
            workflow.logger.warning(
                "node order failed", extra={"action": activity, "cause": str(error.cause)}
            )
            return Answer(error=_error_of(error))
        return Answer(carried_out=True)


def _error_of(error: BaseException | None) -> str:
    """What the node said, however often the order was sent; empty when it said nothing."""
    while error is not None:
        if isinstance(error, ApplicationError):
            return error.message[:500]
        error = error.__cause__
    return ""
