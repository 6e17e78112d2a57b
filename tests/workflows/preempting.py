"""Pipelines of a low and of a high class, for a node that has room for one of them."""

from temporalio.client import WorkflowHandle

from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import PipelineState, StepState
from gamepipe.wire import (
    StepAssignment,
    StepResult,
)
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import Behaviour, ScriptedNode, done

Handle = WorkflowHandle[object, object]


def low(*more: str, preemptible: bool = True, head: str = "", cpu: int = 64) -> str:
    steps = "\n".join(f"  - {{{step}}}" for step in more)
    return f"""
name: low
{head}
resources: {{cpu: {cpu}}}
placement: {{preemptible: {str(preemptible).lower()}}}
steps:
  - {{name: one, type: command, command: "true"}}
  - {{name: two, type: command, command: "sleep 1000"}}
  - {{name: tidy, type: command, command: "true", always: true}}
{steps}
"""


def high(priority: int = 5) -> str:
    return f"""
name: high
priority: {priority}
resources: {{cpu: 64}}
steps:
  - {{name: game, type: command, command: "true"}}
"""


def once(behaviour: Behaviour) -> Behaviour:
    """In the first generation; later ones complete."""

    async def run(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return await behaviour(node, assignment) if assignment.generation == 1 else done()

    return run


async def running(stack: Stack, handle: Handle, step: int = 1) -> None:
    async def reported() -> bool:
        return (await stack.record(handle)).steps[step].state is StepState.RUNNING

    await eventually(reported)


async def waits(stack: Stack, handle: Handle) -> PipelineRecord:
    async def pending() -> bool:
        record = await stack.record(handle)
        return record.state is PipelineState.PENDING and bool(record.message)

    await eventually(pending)
    return await stack.record(handle)
