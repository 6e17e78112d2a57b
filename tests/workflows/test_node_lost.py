"""A node that dies under a step: reschedule, fail or wait."""

import asyncio

from temporalio.client import WorkflowHandle

from gamepipe.model.state import Connectivity, PipelineState, StepState
from gamepipe.wire import NodeBack, NodeLost, ReportKind, StepAssignment, StepResult
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, now


def _file(policy: str) -> str:
    return f"""
name: lost
on_node_lost: {policy}
steps:
  - {{name: one, type: command, command: "true"}}
  - {{name: two, type: command, command: "sleep 1000"}}
  - {{name: three, type: command, command: "true"}}
"""


async def _silent(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    await node.report(assignment, ReportKind.RUNNING)
    await asyncio.Event().wait()
    raise AssertionError("never reached")


async def _lose(stack: Stack, node: ScriptedNode, pipeline: str, generation: int = 1) -> None:
    await stack.store.nodes.mark(node.id, Connectivity.LOST, now=now())
    await stack.client.get_workflow_handle(pipeline).signal(
        "node_lost", NodeLost(node_id=node.id, generation=generation)
    )


async def is_running(stack: Stack, handle: WorkflowHandle[object, object]) -> bool:
    """Whether the second step was reported as running: nothing of it is on the way any more."""
    return (await stack.record(handle)).steps[1].state is StepState.RUNNING


async def test_reschedule_runs_every_step_on_another_node_and_keeps_both_generations(
    stack: Stack,
) -> None:
    first = await stack.node("a-first", two=_silent)
    handle = await stack.submit(_file("reschedule"))
    await first.started["two"].wait()
    second = await stack.node("b-second")
    await _lose(stack, first, handle.id)
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert record.node_id == second.id
    assert record.generation == 2
    assert second.names() == ["one", "two", "three"]
    generations = await stack.store.pipelines.generations(record.id)
    assert [g.node_id for g in generations] == [first.id, second.id]
    assert [step.state.value for step in generations[0].steps] == [
        "completed",
        "failed",
        "skipped",
    ]
    assert generations[0].steps[1].reason == "NODE_LOST"
    assert await stack.store.placements.live_allocations() == ()


async def test_reschedule_waits_for_a_node_when_none_is_left(stack: Stack) -> None:
    first = await stack.node(two=_silent)
    handle = await stack.submit(_file("reschedule"))
    await first.started["two"].wait()
    await _lose(stack, first, handle.id)

    async def pending() -> bool:
        return (await stack.record(handle)).state is PipelineState.PENDING

    await eventually(pending)
    assert (await stack.record(handle)).generation == 2
    await stack.listed_as(handle, "pending")


async def test_fail_ends_the_pipeline_and_leaves_a_stop_order_for_the_node(stack: Stack) -> None:
    node = await stack.node(two=_silent)
    handle = await stack.submit(_file("fail"))
    await node.started["two"].wait()
    await _lose(stack, node, handle.id)
    record = await stack.finish(handle)
    assert record.state is PipelineState.FAILED
    assert record.reason == "NODE_LOST"
    assert [step.state.value for step in record.steps] == ["completed", "failed", "skipped"]
    assert len(await stack.store.nodes.stop_orders(node.id)) == 1
    assert await stack.store.placements.live_allocations() == ()


async def test_wait_dispatches_the_same_attempt_again_until_the_node_is_back(
    stack: Stack,
) -> None:
    stack.with_settings(heartbeat_seconds=0.5, schedule_to_start_seconds=0.5)
    frozen = asyncio.Event()

    async def dies_once(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        if not frozen.is_set():
            frozen.set()
            await asyncio.Event().wait()
        return done()

    node = await stack.node(two=dies_once)
    handle = await stack.submit(_file("wait"))
    await frozen.wait()
    await stack.nodes.aclose()
    await _lose(stack, node, handle.id)

    async def waiting() -> bool:
        return (await stack.record(handle)).reason == "WAITING_FOR_NODE"

    await eventually(waiting)
    async with node.worker():
        await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
        record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert {a.attempt for a in node.assignments if a.step.name == "two"} == {1}


async def test_a_silent_step_is_noticed_by_its_heartbeat_and_dispatched_again(
    stack: Stack,
) -> None:
    async def deaf_once(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return done()

    node = await stack.node(two=deaf_once)
    node.mute.add(("two", 1))
    handle = await stack.submit(_file("fail"))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    seen = [(a.attempt, a.dispatch) for a in node.assignments if a.step.name == "two"]
    assert seen == [(1, 1), (1, 2)]
