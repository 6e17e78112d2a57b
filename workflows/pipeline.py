"""The workflow `GamePipeline`: one durable run of one pipeline."""

import asyncio
from dataclasses import replace

from temporalio import workflow
from temporalio.exceptions import ApplicationError, CancelledError

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.record import StepRecord
    from gamepipe.model.spec import OnNodeLost
    from gamepipe.model.state import PipelineState
    from gamepipe.wire import (
        CancelOrder,
        NodeBack,
        NodeLost,
        Offer,
        PipelineEnd,
        PipelineStart,
        PipelineStatus,
        Placement,
        Preempt,
        ReportKind,
        RunProgress,
        StepReport,
        StepStatus,
    )
    from workflows import searching
    from workflows.context import HaltKind, RunContext
    from workflows.ending import Ending
    from workflows.generation import Generation, GenerationEnd
    from workflows.output import kept
    from workflows.placing import Placing
    from workflows.status import apply_pipeline, apply_step, check_pipeline, check_step
    from workflows.waiting import wait_at_most


@workflow.defn(name="GamePipeline")
class GamePipeline:
    """Places the pipeline, runs its steps, saves every change, cleans up, ends."""

    @workflow.init
    def __init__(self, start: PipelineStart) -> None:
        """All that the run before handed on is in place before the first signal is heard."""
        self._context = RunContext(start)
        self._context.restore()
        self._placing = Placing(self._context)
        self._generation = self._generation_at(self._context.placement)
        self._cancel_requested = False

    @workflow.run
    async def run(self, start: PipelineStart) -> PipelineEnd:  # noqa: ARG002 - taken by __init__
        """Returns for completed; closes as Failed or Canceled in Temporal otherwise, or returns
        what little there is to say when the store closed it."""
        main = asyncio.create_task(self._drive())
        while not main.done():
            try:
                await workflow.wait([main])
            except asyncio.CancelledError:
                # The Web UI's own button, or `GamePipelineService.cancel`: shield the cleanup.
                self._cancel_requested = True
                self._context.cancel(CancelOrder(reason=workflow.cancellation_reason() or ""))
        end = main.result()
        if end.state is PipelineState.CANCELED and self._cancel_requested:
            raise CancelledError(end.message or "canceled")
        if self._closes_as_failed(end):
            message = end.message or end.reason
            raise ApplicationError(message, type=end.reason, non_retryable=True)
        return end

    def _closes_as_failed(self, end: PipelineEnd) -> bool:
        """A run that the store closed, say a reset one of a pipeline that completed, failed at
        nothing: what became of the pipeline is not its to say."""
        if end.state is not PipelineState.FAILED or self._context.closed:
            return False
        return workflow.patched("failed-closes-as-failed")

    # --- messages -------------------------------------------------------------------------------

    @workflow.signal(name="report_step")
    def report_step(self, report: StepReport) -> None:
        """News of a running attempt; anything but the current attempt is too late."""
        book = self._context.book
        if self._is_late(report):
            return
        self._context.alive_dispatches.add(report.step_index)
        if self._generation is not None:
            self._generation.mark_back()
        if report.kind is ReportKind.RUNNING:
            book.run_step(report.step_index, attempt=report.attempt, at=report.at)
            self._context.saver.hurry()
        else:
            written = kept(report.outputs, self._context, report.step_index)
            book.progress_step(
                report.step_index,
                percent=report.percent,
                message=report.message,
                outputs=written,
            )

    def _is_late(self, report: StepReport) -> bool:
        book = self._context.book
        if report.generation != book.generation or report.step_index >= len(book.steps):
            return True
        step = book.steps[report.step_index]
        if report.attempt != step.attempt or step.state.is_terminal:
            return True
        return step.attempt_ended and workflow.patched("late-reports-between-attempts")

    @workflow.signal(name="offer_placement")
    def offer_placement(self, offer: Offer) -> None:
        self._placing.take_offer(offer.generation)

    @workflow.signal(name="preempt")
    def preempt(self, order: Preempt) -> None:
        """Make room for a pipeline of a higher class, and wait again; too late once it ends."""
        if not workflow.patched("preempt"):  # a worker of before passed over it
            return
        context = self._context
        if context.placement is None and order.generation == context.book.generation:
            context.early_preempt = order
        elif self._generation and self._generation.number == order.generation:
            self._generation.preempt(order.for_pipeline)

    @workflow.signal(name="node_lost")
    def node_lost(self, lost: NodeLost) -> None:
        """With `on_node_lost: wait` nothing is dispatched until `node_back`, or seldom."""
        if generation := self._placed(lost):
            generation.mark_lost()
        elif self._context.saver.placing:
            self._context.early_loss = lost

    @workflow.signal(name="node_back")
    def node_back(self, back: NodeBack) -> None:
        if generation := self._placed(back):
            generation.mark_back()
        elif self._context.early_loss and self._context.early_loss.node_id == back.node_id:
            self._context.early_loss = None

    def _placed(self, news: NodeLost | NodeBack) -> Generation | None:
        """The generation that news of a node is about, if it is current and still placed there."""
        generation, about = self._generation, (news.node_id, news.generation)
        if generation is None or self._context.placement is None:
            return None
        return generation if (generation.node_id, generation.number) == about else None

    @workflow.signal(name="cancel_pipeline")
    def cancel_pipeline(self, order: CancelOrder) -> None:
        """Like Temporal's own cancel, with a grace; a second one only shortens it."""
        self._context.cancel(order)

    @workflow.update(name="step_status")
    async def step_status(self, status: StepStatus) -> StepRecord:
        """The step as it stands behind the update; see `workflows.status`."""
        return await apply_step(self._context, self._generation, status)

    @step_status.validator
    def _check_step_status(self, status: StepStatus) -> None:
        check_step(self._context, status)

    @workflow.update(name="pipeline_status")
    async def pipeline_status(self, status: PipelineStatus) -> PipelineState:
        """The state behind the update: an end that it asks for comes within the grace."""
        apply_pipeline(self._context, status)
        return self._context.book.state

    @pipeline_status.validator
    def _check_pipeline_status(self, status: PipelineStatus) -> None:
        check_pipeline(self._context, status)

    @workflow.query(name="progress")
    def progress(self) -> RunProgress:
        book = self._context.book
        return RunProgress(
            state=book.state,
            reason=book.reason,
            message=book.message,
            generation=book.generation,
            node_id=self._context.saver.node_id,
            progress=book.progress(),
            steps=tuple(book.steps),
        )

    # --- the run --------------------------------------------------------------------------------

    async def _drive(self) -> PipelineEnd:
        background = [
            asyncio.create_task(self._context.saver.follow()),
            asyncio.create_task(self._watch_timeout()),
            asyncio.create_task(self._watch_store()),
        ]
        try:
            end = await self._run_generations()
            finished = await Ending(self._context, self._generation).finish(end)
            await workflow.wait_condition(workflow.all_handlers_finished)
            return finished
        finally:
            for task in background:
                task.cancel()

    async def _run_generations(self) -> GenerationEnd | None:
        """How the last generation ended; None when there was none."""
        while True:
            if self._context.placement is None:
                self._generation = self._generation_at(await self._placing.place())
            if self._generation is None:
                return None
            end = await self._drive_generation(self._generation)
            if end is GenerationEnd.PREEMPTED and await self._make_room(self._generation):
                continue
            reschedule = self._context.start.spec.on_node_lost is OnNodeLost.RESCHEDULE
            if end is not GenerationEnd.LOST or self._context.halted or not reschedule:
                return end
            await self._leave_lost_node(self._generation)

    def _generation_at(self, placement: Placement | None) -> Generation | None:
        return None if placement is None else Generation(self._context, placement)

    async def _drive_generation(self, generation: Generation) -> GenerationEnd:
        while True:
            end = await generation.drive()
            if end is not GenerationEnd.CARRY:
                return end
            await self._continue_as_new(generation)

    async def _leave_lost_node(self, generation: Generation) -> None:
        """Close the generation in the store, then begin the next one as pending."""
        context, message = self._context, f"node {generation.node_id} was lost"
        context.lose_steps(reasons.NODE_LOST, message)
        await context.saver.save(release=True, hold_for_node=True)
        if workflow.patched("leave-node"):
            context.leave_node()
            searching.show_state(PipelineState.PENDING)
        context.lost_nodes += (generation.node_id,)
        self._wait_again(reasons.NODE_LOST, message)

    async def _make_room(self, generation: Generation) -> bool:
        """Leave the node to a pipeline of a higher class; whether it waits again."""
        message = f"made room for {generation.preempted_for}, whose priority is higher"
        if not await Ending(self._context, generation).vacate(generation, message):
            return False
        self._context.leave_node()
        searching.show_state(PipelineState.PENDING)
        self._wait_again(reasons.PREEMPTED, message)
        return True

    def _wait_again(self, reason: str, message: str) -> None:
        """For another placement, which is another generation."""
        context = self._context
        context.placement = None
        context.saver.node_id = ""
        context.book.become(PipelineState.PENDING, reason, message, new_generation=True)

    async def _watch_timeout(self) -> None:
        context = self._context
        while True:
            known = context.redefined
            woken = await wait_at_most(
                lambda known=known: (  # type: ignore[misc]
                    context.book.state.is_terminal or context.redefined != known
                ),
                context.time_left(),
                summary="pipeline timeout",
            )
            if not woken:
                seconds = context.start.spec.timeouts.pipeline_seconds
                context.halt_for(
                    HaltKind.TIMEOUT, f"the pipeline ran longer than its timeout of {seconds:g} s"
                )
            if context.redefined == known:
                return

    async def _watch_store(self) -> None:
        """A row that ended or is gone while its run lives: nothing of it may go on."""
        await workflow.wait_condition(lambda: self._context.saver.closed)
        self._context.halt_for(HaltKind.CLOSED, "the store closed the pipeline")

    async def _continue_as_new(self, generation: Generation) -> None:
        """Nothing is in flight: hand everything to a fresh history. Returns only when something
        came meanwhile that this run must see to itself."""
        context = self._context
        while not (self._is_canceled or self._is_interrupted(generation)):
            await context.saver.save(only_if_dirty=True)
            await workflow.wait_condition(workflow.all_handlers_finished)
            interrupted = self._is_canceled or self._is_interrupted(generation)
            if not (context.book.dirty or context.saver.under_way or interrupted):
                workflow.continue_as_new(
                    replace(context.start, recorded_saves=True, carried=context.carry())
                )
        await workflow.wait_condition(lambda: self._is_interrupted(generation))

    def _is_interrupted(self, generation: Generation) -> bool:
        return self._context.halted or generation.lost or generation.preempted

    @property
    def _is_canceled(self) -> bool:
        """By Temporal's own cancel, which reaches `run` a moment after it came."""
        return workflow.cancellation_reason() is not None
