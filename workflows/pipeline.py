"""The workflow `GamePipeline`: one durable run of one pipeline."""

import asyncio
from dataclasses import replace

from temporalio import workflow
from temporalio.exceptions import CancelledError

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.record import StepRecord
    from gamepipe.model.spec import OnNodeLost
    from gamepipe.model.state import PipelineState
    from gamepipe.wire import (
        CancelOrder,
        CarriedRun,
        NodeLost,
        Offer,
        PipelineEnd,
        PipelineStart,
        PipelineStatus,
        ReportKind,
        RunProgress,
        StepReport,
        StepStatus,
    )

from workflows.context import HaltKind, RunContext
from workflows.ending import Ending
from workflows.generation import Generation, GenerationEnd
from workflows.placing import Placing
from workflows.status import apply_pipeline, apply_step, check_pipeline, check_step
from workflows.waiting import wait_at_most


@workflow.defn(name="GamePipeline")
class GamePipeline:
    """Places the pipeline, runs its steps, saves every change, cleans up, ends."""

    @workflow.init
    def __init__(self, start: PipelineStart) -> None:
        self._context = RunContext(start)
        self._placing = Placing(self._context)
        self._generation: Generation | None = None
        self._cancel_requested = False

    @workflow.run
    async def run(self, start: PipelineStart) -> PipelineEnd:  # noqa: ARG002 - taken by __init__
        """Returns for completed; closes as Failed or Canceled in Temporal otherwise."""
        main = asyncio.create_task(self._drive())
        while not main.done():
            try:
                await workflow.wait([main])
            except asyncio.CancelledError:
                # The Web UI's own button, or `GamePipelineService.cancel`: shield the cleanup.
                self._cancel_requested = True
                self._halt_for_cancel(CancelOrder(reason=workflow.cancellation_reason() or ""))
        end = main.result()
        if end.state is PipelineState.CANCELED and self._cancel_requested:
            raise CancelledError(end.message or "canceled")
        return end

    # --- messages -------------------------------------------------------------------------------

    @workflow.signal(name="report_step")
    def report_step(self, report: StepReport) -> None:
        """News of a running attempt; anything but the current attempt is too late."""
        book = self._context.book
        if report.generation != book.generation or report.step_index >= len(book.steps):
            return
        step = book.steps[report.step_index]
        if report.attempt != step.attempt or step.state.is_terminal:
            return
        self._context.alive_dispatches.add(report.step_index)
        if report.kind is ReportKind.RUNNING:
            book.run_step(report.step_index, attempt=report.attempt, at=report.at)
            self._context.saver.hurry()
        else:
            book.progress_step(report.step_index, percent=report.percent, message=report.message)

    @workflow.signal(name="offer_placement")
    def offer_placement(self, offer: Offer) -> None:
        self._placing.take_offer(offer.generation)

    @workflow.signal(name="node_lost")
    def node_lost(self, lost: NodeLost) -> None:
        generation = self._generation
        if generation and (lost.node_id, lost.generation) == (
            generation.node_id,
            generation.number,
        ):
            generation.mark_lost()

    @workflow.signal(name="cancel_pipeline")
    def cancel_pipeline(self, order: CancelOrder) -> None:
        """Like Temporal's own cancel, with a grace; a second one only shortens it."""
        self._halt_for_cancel(order)

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

    def _halt_for_cancel(self, order: CancelOrder) -> None:
        if self._context.book.state.is_terminal:
            return
        message = order.reason or "canceled on request"
        self._context.halt_for(HaltKind.CANCEL, message, order.grace_seconds)

    # --- the run --------------------------------------------------------------------------------

    async def _drive(self) -> PipelineEnd:
        self._context.restore()
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
            placement = self._context.placement or await self._placing.place()
            if placement is None:
                self._generation = None
                return None
            self._generation = Generation(self._context, placement)
            end = await self._generation.drive()
            if end is GenerationEnd.CARRY:
                await self._continue_as_new()
            reschedule = self._context.start.spec.on_node_lost is OnNodeLost.RESCHEDULE
            if end is not GenerationEnd.LOST or self._context.halted or not reschedule:
                return end
            await self._leave_lost_node(self._generation)

    async def _leave_lost_node(self, generation: Generation) -> None:
        """Close the generation in the store, then begin the next one as pending."""
        context, message = self._context, f"node {generation.node_id} was lost"
        context.lose_steps(reasons.NODE_LOST, message)
        await context.saver.save(release=True, hold_for_node=True)
        context.placement = None
        context.lost_nodes += (generation.node_id,)
        context.saver.node_id = ""
        context.book.become(PipelineState.PENDING, reasons.NODE_LOST, message, new_generation=True)

    async def _watch_timeout(self) -> None:
        limit = self._context.time_left()
        if limit is None:
            return
        ended = await wait_at_most(
            lambda: self._context.book.state.is_terminal, limit, summary="pipeline timeout"
        )
        if not ended:
            seconds = self._context.start.spec.timeouts.pipeline_seconds
            self._context.halt_for(
                HaltKind.TIMEOUT, f"the pipeline ran longer than its timeout of {seconds:g} s"
            )

    async def _watch_store(self) -> None:
        """A row that ended or is gone while its run lives: nothing of it may go on."""
        await workflow.wait_condition(lambda: self._context.saver.closed)
        self._context.halt_for(HaltKind.CLOSED, "the store closed the pipeline")

    async def _continue_as_new(self) -> None:
        """Nothing is in flight: hand everything to a fresh history."""
        context = self._context
        await context.saver.save(only_if_dirty=True)
        await workflow.wait_condition(workflow.all_handlers_finished)
        carried: CarriedRun = context.carry()
        workflow.continue_as_new(replace(context.start, carried=carried))
