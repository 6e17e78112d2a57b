"""What a run saves, when, and what it does when the store refuses."""

from temporalio.api.enums.v1 import EventType

from gamepipe.model.state import PipelineState
from gamepipe.wire import ReportKind
from tests.workflows.conftest import Stack
from tests.workflows.node import now, until_stopped
from tests.workflows.test_run import THREE


async def test_quick_steps_share_a_save(stack: Stack) -> None:
    """Each save holds back the workflow task that it is part of."""
    await stack.node()
    handle = await stack.submit(THREE)
    await stack.finish(handle)
    events = (await handle.fetch_history()).events
    saves = [event for event in events if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED]
    assert len(saves) == 2, "the placement and the end"


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
