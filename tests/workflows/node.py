"""A node whose steps do what a test says: serves `node-<id>` with real Temporal activities."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from gamepipe.model.node import NodeFacts
from gamepipe.model.state import StepState
from gamepipe.ports import Registration, Store
from gamepipe.wire import (
    CleanWorkspace,
    InstanceEnd,
    ReportKind,
    StepAssignment,
    StepReport,
    StepResult,
    StopAnswer,
    StopInstanceOrder,
    StopStep,
    node_identity,
    node_queue,
)

Behaviour = Callable[["ScriptedNode", StepAssignment], Awaitable[StepResult]]


def now() -> datetime:
    return datetime.now(UTC)


async def register(store: Store, node_id: str, **facts: Any) -> None:
    """Make the node known, with room for anything."""
    plain = {"cpu": 64, "memory_bytes": 1 << 36, "disk_bytes": 1 << 40}
    declared = NodeFacts(**plain | {"features": ("command", "container")} | facts)
    await store.nodes.register(Registration(node_id=node_id, facts=declared), now=now())


def done(outputs: dict[str, str] | None = None, **changes: Any) -> StepResult:
    fields: dict[str, Any] = {
        "state": StepState.COMPLETED,
        "started_at": now(),
        "ended_at": now(),
        "exit_code": 0,
        "outputs": outputs or {},
    }
    return StepResult(**{**fields, **changes})


def failed(exit_code: int = 1, **changes: Any) -> StepResult:
    fields = {
        "state": StepState.FAILED,
        "reason": "EXIT_CODE",
        "message": f"exit code {exit_code}",
        "exit_code": exit_code,
        "outputs": {},
    }
    return done(**{**fields, **changes})


async def complete(node: "ScriptedNode", assignment: StepAssignment) -> StepResult:
    return done()


def fails(times: int) -> Behaviour:
    """Fail that many attempts, then complete."""

    async def run(node: "ScriptedNode", assignment: StepAssignment) -> StepResult:
        return failed() if assignment.attempt <= times else done()

    return run


async def until_stopped(node: "ScriptedNode", assignment: StepAssignment) -> StepResult:
    """Report RUNNING, then run until `stop_step` comes."""
    await node.report(assignment, ReportKind.RUNNING)
    await node.stopping(assignment).wait()
    return failed(143, reason="CANCELED", message="stopped")


class ScriptedNode:
    """`behaviours` by step name; a step without one completes at once."""

    def __init__(self, client: Client, node_id: str, **behaviours: Behaviour) -> None:
        self.client = client
        self.id = node_id
        self.behaviours = behaviours
        self.assignments: list[StepAssignment] = []
        self.stops: list[StopStep] = []
        self.instance_stops: list[StopInstanceOrder] = []
        self.cleaned: list[CleanWorkspace] = []
        self.mute: set[tuple[str, int]] = set()
        """(step, dispatch) that neither heartbeat nor answer."""
        self.journal: list[str] = []
        """Every order, as it came: the activity, and the step where there is one."""
        self.refused: set[str] = set()
        """Activities that answer with an error."""
        self.patient = False
        """A stop takes as long as its grace lets it."""
        self.started: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._stopping: dict[tuple[str, int, int], asyncio.Event] = defaultdict(asyncio.Event)

    def worker(self) -> Worker:
        return Worker(
            self.client,
            task_queue=node_queue(self.id),
            activities=[self.run_step, self.stop_step, self.stop_instance, self.clean_workspace],
            identity=node_identity(self.id),
        )

    def names(self) -> list[str]:
        return [assignment.step.name for assignment in self.assignments]

    def stopping(self, assignment: StepAssignment | StopStep) -> asyncio.Event:
        index = (
            assignment.step.index
            if isinstance(assignment, StepAssignment)
            else (assignment.step_index)
        )
        return self._stopping[(assignment.pipeline_id, assignment.generation, index)]

    async def report(
        self,
        assignment: StepAssignment,
        kind: ReportKind,
        percent: float | None = None,
        outputs: dict[str, str] | None = None,
        message: str = "",
    ) -> None:
        handle = self.client.get_workflow_handle(f"pipeline-{assignment.pipeline_id}")
        await handle.signal(
            "report_step",
            StepReport(
                generation=assignment.generation,
                step_index=assignment.step.index,
                attempt=assignment.attempt,
                kind=kind,
                at=now(),
                percent=percent,
                outputs=outputs or {},
                message=message,
            ),
        )

    @activity.defn(name="run_step")
    async def run_step(self, assignment: StepAssignment) -> StepResult:
        self.assignments.append(assignment)
        self.journal.append(f"run {assignment.step.name}")
        self.started[assignment.step.name].set()
        if (assignment.step.name, assignment.dispatch) in self.mute:
            await asyncio.Event().wait()
        behaviour = self.behaviours.get(assignment.step.name, complete)
        beat = asyncio.create_task(self._heartbeat(assignment.heartbeat_seconds / 3))
        try:
            return await behaviour(self, assignment)
        finally:
            beat.cancel()

    async def _heartbeat(self, every: float) -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(every)

    @activity.defn(name="stop_step")
    async def stop_step(self, stop: StopStep) -> StopAnswer:
        self.stops.append(stop)
        self._take("stop_step")
        if self.patient and stop.grace_seconds > 0:
            await asyncio.Event().wait()
        self.stopping(stop).set()
        return StopAnswer(was_running=True)

    @activity.defn(name="stop_instance")
    async def stop_instance(self, order: StopInstanceOrder) -> InstanceEnd:
        self.instance_stops.append(order)
        self._take("stop_instance")
        return InstanceEnd(exit_code=0)

    @activity.defn(name="clean_workspace")
    async def clean_workspace(self, order: CleanWorkspace) -> None:
        self.cleaned.append(order)
        self._take("clean_workspace")

    def _take(self, order: str) -> None:
        self.journal.append(order)
        if order in self.refused:
            raise ApplicationError("busy", non_retryable=True)


async def not_delivered(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    if assignment.dispatch <= 2:
        raise ApplicationError("no agent took it", type="NOT_DELIVERED", non_retryable=True)
    return done()
