"""What a run saves, when, and what it does when the store refuses."""

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from gamepipe.model.state import PipelineState
from gamepipe.wire import ReportKind
from tests.workflows.conftest import Stack
from tests.workflows.node import now, until_stopped
from tests.workflows.test_run import THREE


def activities_in(history: WorkflowHistory) -> list[str]:
    """Their types, as they were scheduled."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


async def test_quick_steps_share_a_save(stack: Stack) -> None:
    """Each is an activity, with events and workflow tasks of its own."""
    await stack.node()
    handle = await stack.submit(THREE)
    await stack.finish(handle)
    asked = activities_in(await handle.fetch_history())
    assert [name for name in asked if name != "run_step"] == ["place_pipeline", "save_progress"]


async def test_a_row_that_was_closed_by_others_ends_its_run(stack: Stack) -> None:
    """Say, by an operator in the database: nothing of the run goes on."""
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    record = await stack.record(handle)
    await stack.store.pipelines.update_status(
        record.id, PipelineState.FAILED, reason="WORKFLOW_LOST", message="by hand", now=now()
    )
    await node.report(node.assignments[-1], ReportKind.PROGRESS, percent=50.0)
    after = await stack.finish(handle)
    assert (after.state, after.message) == (PipelineState.FAILED, "by hand")
    assert [stop.step_index for stop in node.stops] == [1]
    assert node.names() == ["one", "two"]
