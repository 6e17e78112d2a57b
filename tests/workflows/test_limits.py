"""Big and chatty pipelines stay inside Temporal's limits."""

from temporalio.client import WorkflowExecutionDescription

from gamepipe.model.state import PipelineState
from gamepipe.wire import ReportKind, StepAssignment, StepResult
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, failed

EVENT_LIMIT = 51_200
"""Temporal terminates a workflow whose history is longer."""


def first_run_of(description: WorkflowExecutionDescription) -> str:
    return description.raw_description.workflow_execution_info.first_run_id


async def test_five_hundred_steps_with_retries_continue_as_new(stack: Stack) -> None:
    async def flaky(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return failed() if assignment.attempt < 3 else done()

    steps = "\n".join(
        f"  - {{name: s{i}, type: command, command: 'true', "
        "retry: {max_attempts: 3, initial: 0.001}}"
        for i in range(500)
    )
    node = await stack.node(**{f"s{i}": flaky for i in range(0, 500, 5)})
    handle = await stack.submit(f"name: long\nsteps:\n{steps}\n")
    record = await stack.finish(handle, seconds=170)
    assert record.state is PipelineState.COMPLETED
    assert record.progress.ended == 500
    assert len(node.assignments) == 700
    order = [a.step.index for a in node.assignments if a.attempt == 1]
    assert order == list(range(500))
    description = await handle.describe()
    assert description.run_id != first_run_of(description)
    assert description.history_length < EVENT_LIMIT
    events = await stack.store.events.read(pipeline_id=record.id, limit=10_000)
    numbers = [event.number for event in events if event.number is not None]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_flood_of_reports_ends_in_the_right_state(stack: Stack) -> None:
    async def chatty(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        for percent in range(40):
            await node.report(assignment, ReportKind.PROGRESS, percent=float(percent))
        return done()

    await stack.node(only=chatty)
    record = await stack.finish(
        await stack.submit("""
name: chatty
steps:
  - {name: only, type: command, command: "true"}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert record.steps[0].percent == 100.0
