"""A stop that fails says something of that step, and nothing of the rest of the run."""

from temporalio.client import WorkflowHandle

from gamepipe.model.state import Connectivity, PipelineState, StepState
from gamepipe.wire import NodeLost, StepStatus
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import Behaviour, ScriptedNode, now, until_stopped
from tests.workflows.shapes import service_up

FILE = """
name: stop
on_node_lost: reschedule
steps:
  - {name: one, type: command, command: "true", retry: {max_attempts: 2, initial: 1h, max: 1h}}
  - {name: two, type: command, command: "true"}
"""


async def _running(
    stack: Stack, **behaviours: Behaviour
) -> tuple[ScriptedNode, WorkflowHandle[object, object]]:
    """A step runs on a node that answers stops with an error."""
    node = await stack.node("a-first", one=until_stopped, **behaviours)
    node.refused.add("stop_step")
    handle = await stack.submit(FILE)
    await node.started["one"].wait()
    return node, handle


async def _report(handle: WorkflowHandle[object, object], state: StepState) -> None:
    status = StepStatus(generation=1, step_index=0, attempt=1, state=state)
    await handle.execute_update("step_status", status)


async def test_the_steps_behind_it_run_and_the_node_is_free_again(stack: Stack) -> None:
    node, handle = await _running(stack)
    await _report(handle, StepState.COMPLETED)
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert [step.state.value for step in record.steps] == ["completed", "completed"]
    assert len(node.cleaned) == 1, "which stops what still runs"
    assert await stack.store.placements.live_allocations() == ()
    assert await stack.store.nodes.stop_orders(node.id) == ()


async def test_a_node_that_cleans_up_nothing_either_stays_closed_until_it_confirms(
    stack: Stack,
) -> None:
    node, handle = await _running(stack)
    node.refused.add("clean_workspace")
    await _report(handle, StepState.COMPLETED)
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert f"node {node.id} has not confirmed that 'one' stopped" in record.message
    (held,) = await stack.store.placements.live_allocations()
    (order,) = await stack.store.nodes.stop_orders(node.id)
    assert (held.pipeline_id, order.pipeline_id, order.step_index) == (record.id, record.id, None)
    await stack.store.nodes.confirm_stop(order.id, node_id=node.id, now=now())
    assert await stack.store.placements.live_allocations() == ()


async def test_beside_a_game_that_lives_on_only_the_step_is_stopped(stack: Stack) -> None:
    node, handle = await _running(stack, two=service_up)
    await _report(handle, StepState.COMPLETED)
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert node.cleaned == [], "the game is in it"
    (order,) = await stack.store.nodes.stop_orders(node.id)
    assert (order.pipeline_id, order.step_index) == (record.id, 0)
    await stack.store.nodes.confirm_stop(order.id, node_id=node.id, now=now())
    (game,) = await stack.store.instances.list(pipeline_id=record.id, live_only=True)
    assert game.step_index == 1
    (held,) = await stack.store.placements.live_allocations()
    assert held.pipeline_id == record.id


async def test_the_next_generation_runs_every_step(stack: Stack) -> None:
    first, handle = await _running(stack)
    await _report(handle, StepState.FAILED)

    async def failed_once() -> bool:
        return (await stack.record(handle)).steps[0].attempt_ended

    await eventually(failed_once)
    second = await stack.node("b-second")
    await stack.store.nodes.mark(first.id, Connectivity.LOST, now=now())
    await handle.signal("node_lost", NodeLost(node_id=first.id, generation=1))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert second.names() == ["one", "two"]
