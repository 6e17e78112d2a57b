"""One placement of a pipeline: runs the graph of steps on its node."""

import asyncio
from enum import StrEnum

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.errors import GamePipeError
    from gamepipe.model.expression import ConditionScope, StepFacts, evaluate
    from gamepipe.model.gpu import step_devices
    from gamepipe.model.graph import ancestors
    from gamepipe.model.interpolation import scope_for
    from gamepipe.model.spec import OnNodeLost, Step, StepType
    from gamepipe.model.state import PipelineState, StepState
    from gamepipe.wire import NodeLost, Placement, Preempt, StepAssignment, StepResult

from workflows import policy
from workflows.attempt import StepRun
from workflows.context import RunContext, runs_when_halted


class GenerationEnd(StrEnum):
    FINISHED = "finished"
    """Every step has ended."""
    LOST = "lost"
    """The node is lost: what ran on it is gone."""
    PREEMPTED = "preempted"
    """It makes room for a pipeline of a higher class: nothing of it runs any more."""
    CARRY = "carry"
    """History is long: nothing is in flight, the run may continue as new."""


class Generation:
    """Runs every step whose needs have ended, until all have."""

    def __init__(self, context: RunContext, placement: Placement) -> None:
        self._context = context
        self._placement = placement
        self.node_id = placement.node_id
        self.number = placement.generation
        self.lost = False
        self.preempted_for = ""
        """Id of the pipeline that it is to make room for."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._runs: dict[int, StepRun] = {}
        self._ancestors = ancestors(context.start.spec.steps)
        self._devices = step_devices(context.start.spec, placement.gpu_devices)
        self._heed(context.early_preempt, context.early_loss)

    def _heed(self, preempt: Preempt | None, loss: NodeLost | None) -> None:
        """What came before the placement did."""
        if preempt and preempt.generation == self.number:
            self.preempt(preempt.for_pipeline)
        if loss and (loss.node_id, loss.generation) == (self.node_id, self.number):
            self.mark_lost()

    async def drive(self) -> GenerationEnd:
        while True:
            self._start_ready()
            if self.lost:
                await self._settle()
                return GenerationEnd.LOST
            if self.preempted:
                await self._settle()
                if self.preempted and not self.lost:
                    return self._end_preempted()
                continue
            if not self._tasks:
                break
            await workflow.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            self._reap()
        if all(step.state.is_terminal for step in self._context.book.steps):
            return GenerationEnd.FINISHED
        return GenerationEnd.CARRY

    async def end_step(self, index: int, result: StepResult) -> None:
        """End the step's current attempt from outside; returns once that counts."""
        task = self._tasks.get(index)
        if task is None or task.done():
            self._begin(self._context.start.spec.steps[index])  # it was left to the next run
        await self._runs[index].end_from_outside(result)

    def mark_lost(self) -> None:
        """The node was declared lost; waiting pipelines go on waiting for it."""
        if self._context.start.spec.on_node_lost is OnNodeLost.WAIT and not self._context.halted:
            self._context.node_away = workflow.patched("wait-until-back")
            self._context.explain(
                reasons.WAITING_FOR_NODE, f"node {self.node_id} is lost; waiting for its return"
            )
        else:
            self.lost = True

    def mark_back(self) -> None:
        """The node was heard again, by whoever watches it or through one of its steps."""
        if not self._context.node_away:
            return
        self._context.node_away = False
        if self._context.book.reason == reasons.WAITING_FOR_NODE:
            self._context.explain("", "")

    @property
    def preempted(self) -> bool:
        """Its steps stop, `always` ones too: they belong to the end. Whatever halts the run goes
        before that."""
        return bool(self.preempted_for) and not self._context.halted

    def preempt(self, for_pipeline: str) -> None:
        """Make room, unless somebody uses what it runs."""
        context = self._context
        if context.halted or context.book.state is not PipelineState.RUNNING:
            return
        in_use = any(True for _ in context.book.live_instances())
        if in_use or self.preempted_for or not context.start.spec.placement.preemptible:
            return
        self.preempted_for = for_pipeline
        context.explain(reasons.PREEMPTED, f"makes room for {for_pipeline}")

    def _end_preempted(self) -> GenerationEnd:
        """Where every step had ended before its stop could reach it, there is nothing to redo."""
        cut_short = any(
            not step.state.is_terminal or step.reason == reasons.PREEMPTED
            for step in self._context.book.steps
        )
        return GenerationEnd.PREEMPTED if cut_short else GenerationEnd.FINISHED

    # --- the graph ------------------------------------------------------------------------------

    def _start_ready(self) -> None:
        """Start or skip every step whose needs have ended; skipping may make others ready."""
        if self.holding or self.preempted:
            return
        moved = True
        while moved and not self.lost:
            moved = False
            for step in self._ready():
                moved = self._start_or_skip(step) or moved

    @property
    def holding(self) -> bool:
        """History is long: nothing new is dispatched until the run continues as new."""
        return workflow.info().is_continue_as_new_suggested() and not self._context.halted

    def _ready(self) -> list[Step]:
        records = self._context.book.steps
        ended = {record.name for record in records if record.state.is_terminal}
        return [
            step
            for step in self._context.start.spec.steps
            if not records[step.index].state.is_terminal
            and step.index not in self._tasks
            and ended.issuperset(step.needs)
        ]

    def _start_or_skip(self, step: Step) -> bool:
        """True when the step ended at once (skipped, or its condition cannot be evaluated). One
        that began in the run before this goes on."""
        began = self._context.book.steps[step.index].attempt > 0
        end = None if began else self._verdict(step)
        if end is None:
            self._begin(step)
            return False
        state, reason, message = end
        self._context.book.end_step(step.index, state, reason=reason, message=message)
        return True

    def _begin(self, step: Step) -> None:
        run = self._runs[step.index] = StepRun(self._context, self, step)
        self._tasks[step.index] = asyncio.create_task(run.run())

    def _verdict(self, step: Step) -> tuple[StepState, str, str] | None:
        """None: run it. Else the state, reason and message that it ends with at once."""
        if self._is_barred(step):
            return StepState.SKIPPED, reasons.CANCELED, "the pipeline was stopped"
        if step.always:
            return None
        if step.condition:
            return self._verdict_of_condition(step)
        if self._has_failed_ancestor(step):
            return StepState.SKIPPED, reasons.DEPENDENCY_FAILED, "a step that it needs failed"
        return None

    def _is_barred(self, step: Step) -> bool:
        """In a stopped pipeline only `always` steps run, and none on a node out of reach."""
        context = self._context
        if context.closed or context.unreachable:
            return True
        return context.halted and not runs_when_halted(step)

    def _verdict_of_condition(self, step: Step) -> tuple[StepState, str, str] | None:
        try:
            met = evaluate(step.condition, self._condition_scope(step))
        except GamePipeError as error:
            return StepState.FAILED, reasons.CONDITION_INVALID, error.message
        return None if met else (StepState.SKIPPED, reasons.CONDITION_FALSE, step.condition)

    def _has_failed_ancestor(self, step: Step) -> bool:
        failed = {record.name for record in self._context.book.failed_steps()}
        return not failed.isdisjoint(self._ancestors[step.name])

    def _condition_scope(self, step: Step) -> ConditionScope:
        start, book = self._context.start, self._context.book
        return ConditionScope(
            args=start.args,
            env_names=frozenset(start.env_names),
            steps={
                record.name: StepFacts(state=record.state.value, outputs=record.outputs)
                for record in book.steps
            },
            ancestors=self._ancestors[step.name],
            failed_ancestors=self._has_failed_ancestor(step),
            canceled=self._context.halted,
            node=self._placement.node,
            pipeline=self._pipeline_facts(),
        )

    def _reap(self) -> None:
        for index in [index for index, task in self._tasks.items() if task.done()]:
            self._tasks.pop(index).result()

    async def _settle(self) -> None:
        """Let the step runs notice why they must end: on a node that is lost they end at once."""
        while self._tasks:
            await workflow.wait(self._tasks.values())
            self._reap()

    # --- the node -------------------------------------------------------------------------------

    def assignment(self, step: Step, attempt: int, dispatch: int) -> StepAssignment:
        """What one dispatch hands to the node."""
        start = self._context.start
        return StepAssignment(
            pipeline_id=start.pipeline_id,
            generation=self.number,
            attempt=attempt,
            dispatch=dispatch,
            step=step,
            scope=scope_for(
                step,
                args=start.args,
                outputs={record.name: record.outputs for record in self._context.book.steps},
                node=self._placement.node,
                pipeline=self._pipeline_facts(),
                env_names=start.env_names,
                secret_names=start.secret_names,
            ),
            timeout_seconds=self._timeout_seconds(step),
            grace_seconds=self._context.grace_seconds,
            heartbeat_seconds=self._context.heartbeat_seconds,
            gpu_devices=self._devices.get(step.index, ()),
            clean_after=self._is_last(step),
            stop_when_cut_off=start.spec.on_node_lost is OnNodeLost.RESCHEDULE,
            run_id=self._context.begun_by.get(step.index),
        )

    def _timeout_seconds(self, step: Step) -> float | None:
        limit = step.timeout_seconds or self._context.start.spec.timeouts.step_seconds
        if limit is None and self._context.halted:
            return policy.ALWAYS_STEP_IN_CANCEL.total_seconds()
        return limit

    def _is_last(self, step: Step) -> bool:
        """Whether nothing can follow, so that the agent may remove the workspace itself."""
        others_ended = all(
            record.state.is_terminal
            for record in self._context.book.steps
            if record.index != step.index
        )
        no_service = not any(True for _ in self._context.book.live_instances())
        return others_ended and no_service and step.type is not StepType.SERVICE

    def _pipeline_facts(self) -> dict[str, str]:
        start = self._context.start
        return {
            "id": start.pipeline_id,
            "name": start.spec.name,
            "tenant": start.spec.tenant,
            "generation": str(self.number),
        }
