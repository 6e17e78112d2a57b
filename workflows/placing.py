"""Getting a placement: asking, waiting in the queue, taking an offer, giving up."""

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.state import PipelineState
    from gamepipe.wire import PlaceAnswer, Placement, PlaceStatus, WithdrawRequest

from workflows import searching
from workflows.context import HaltKind, RunContext
from workflows.storing import ask_store
from workflows.waiting import wait_at_most


class Placing:
    """Asks for the placement of each generation."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._offered = 0
        """Highest generation that an offer was signalled for."""

    def take_offer(self, generation: int) -> None:
        self._offered = max(self._offered, generation)

    async def place(self) -> Placement | None:
        """The next generation's placement; None when the run must end without one."""
        context = self._context
        context.book.start_generation()
        if context.book.state is PipelineState.NOT_STARTED:
            context.book.become(PipelineState.PENDING)
        began = workflow.time()
        while not context.halted:
            self._use_offer()
            answer = await context.saver.place(
                context.lost_nodes, context.start.definition_revision
            )
            self._redefine(answer)
            if context.start.recorded_saves:
                context.tell_of_cancel()
            if answer.status is PlaceStatus.CLOSED:
                context.halt_for(HaltKind.CLOSED, "the store closed the pipeline")
                return None
            if answer.placement is not None:
                self._hold(answer.placement)
                return answer.placement
            workflow.set_current_details(answer.summary)  # for the Web UI; no part of the history
            if not await self._wait_for_offer(began):
                break
        await self._give_up()
        return None

    def _hold(self, placement: Placement) -> None:
        self._context.placement = placement
        workflow.set_current_details("")
        searching.show_placement(self._context.start, placement)

    def _use_offer(self) -> None:
        """Each offer is asked for once; one that comes while the store answers is asked for next.
        An offer that is gone by then must not be asked for again and again."""
        if self._offered and workflow.patched("offer-is-used-once"):
            self._offered = 0

    def _left(self, began: float) -> timedelta | None:
        """Of the wait in the queue, by the definition as it stands now."""
        seconds = self._context.start.spec.timeouts.queue_seconds
        if seconds is None:
            return None
        return max(timedelta(seconds=began + seconds - workflow.time()), timedelta())

    async def _wait_for_offer(self, began: float) -> bool:
        """False when the wait in the queue timed out."""
        context, left = self._context, self._left(began)
        return await wait_at_most(
            lambda: self._offered >= context.book.generation or context.halted,
            left,
            summary="waiting for a node",
        )

    async def _give_up(self) -> None:
        """Leave the queue; an offer that crossed this is released with it."""
        context = self._context
        await ask_store(
            "withdraw_placement",
            WithdrawRequest(
                pipeline_id=context.start.pipeline_id,
                incarnation=context.start.incarnation,
                generation=context.book.generation,
            ),
            recorded=context.start.recorded_saves,
        )
        if not context.halted:
            waited = context.book.message or "no node fits"
            context.give_up_reason = (reasons.QUEUE_TIMEOUT, f"waited too long: {waited}")

    def _redefine(self, answer: PlaceAnswer) -> None:
        if answer.definition is None:
            return
        context = self._context
        timeouts = context.start.spec.timeouts
        if answer.definition.timeouts != timeouts and workflow.patched("timeouts-follow"):
            context.redefined += 1
        context.start = replace(
            context.start,
            spec=answer.definition,
            definition_revision=answer.definition_revision,
            args=answer.args,
            env_names=answer.env_names,
            secret_names=answer.secret_names,
        )
        context.book.define(answer.definition)
