"""Cancel: one path for every door, cleanup shielded, nothing left behind."""

import asyncio
from datetime import datetime

import pytest
from temporalio.client import WorkflowExecutionStatus

from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.wire import CancelOrder, ReportKind, SaveRequest, StepAssignment, StepResult
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, until_stopped
from tests.workflows.shapes import service_up

ENDLESS = """
name: endless
steps:
  - {name: first, type: command, command: "true"}
  - {name: endless, type: command, command: "sleep 1000"}
  - {name: never, type: command, command: "true"}
  - {name: tidy, type: command, command: "true", always: true}
"""


def _assert_canceled(record: PipelineRecord, node: ScriptedNode) -> None:
    assert record.state is PipelineState.CANCELED
    assert [step.state.value for step in record.steps] == [
        "completed",
        "failed",
        "skipped",
        "completed",
    ]
    assert record.steps[1].reason == "CANCELED"
    assert len(node.stops) == 1
    assert len(node.cleaned) <= 1


async def test_the_web_uis_cancel_stops_the_step_and_runs_always_steps(stack: Stack) -> None:
    node = await stack.node(endless=until_stopped)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.cancel(reason="pressed the button")
    record = await stack.finish(handle)
    _assert_canceled(record, node)
    assert record.message == "pressed the button"
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED


async def test_a_cancel_with_a_grace_comes_as_a_signal(stack: Stack) -> None:
    node = await stack.node(endless=until_stopped)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="no longer needed", grace_seconds=5))
    record = await stack.finish(handle)
    _assert_canceled(record, node)
    assert node.stops[0].grace_seconds == 5
    assert await stack.store.placements.live_allocations() == ()


async def test_while_canceling_the_state_stays_and_the_reason_says_so(stack: Stack) -> None:
    let_go = asyncio.Event()

    async def stubborn(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await let_go.wait()
        return done()

    async def slow_tidy(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await let_go.wait()
        return done()

    node = await stack.node(endless=until_stopped, tidy=slow_tidy)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="bye"))
    await node.started["tidy"].wait()

    async def canceling() -> bool:
        return (await stack.record(handle)).reason == "CANCELING"

    await eventually(canceling)
    assert (await stack.record(handle)).state is PipelineState.RUNNING
    let_go.set()
    assert (await stack.finish(handle)).state is PipelineState.CANCELED


async def test_a_second_cancel_shortens_the_grace(stack: Stack) -> None:
    node = await stack.node(endless=until_stopped)
    node.patient = True
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="stop", grace_seconds=30))
    await eventually(lambda: node.stops)
    await handle.signal("cancel_pipeline", CancelOrder(reason="now!", grace_seconds=0))
    record = await stack.finish(handle)
    assert [stop.grace_seconds for stop in node.stops] == [30, 0]
    assert record.state is PipelineState.CANCELED
    assert record.message == "stop"


async def test_a_later_cancel_with_a_longer_grace_changes_nothing(stack: Stack) -> None:
    gate = asyncio.Event()

    async def slow_tidy(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await gate.wait()
        return done()

    node = await stack.node(endless=until_stopped, tidy=slow_tidy)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(grace_seconds=2))
    await node.started["tidy"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(grace_seconds=50))
    gate.set()
    await stack.finish(handle)
    assert [stop.grace_seconds for stop in node.stops] == [2]
    assert node.assignments[-1].grace_seconds == 2


async def test_a_cancel_stops_then_tidies_then_stops_services_then_cleans_then_releases(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await stack.node(game=service_up, endless=until_stopped)
    save = stack.store.pipelines.save

    async def noted(request: SaveRequest, *, now: datetime) -> object:
        if request.release:
            node.journal.append("release")
        return await save(request, now=now)

    monkeypatch.setattr(stack.store.pipelines, "save", noted)
    handle = await stack.submit("""
name: all
steps:
  - {name: game, type: service, container: {image: game}}
  - {name: endless, type: command, command: "sleep 1000"}
  - {name: tidy, type: command, command: "true", always: true}
""")
    await node.started["endless"].wait()
    node.journal.clear()
    await handle.cancel()
    assert (await stack.finish(handle)).state is PipelineState.CANCELED
    assert node.journal == [
        "stop_step",
        "run tidy",
        "stop_instance",
        "clean_workspace",
        "release",
    ]
    assert await stack.store.placements.live_allocations() == ()


async def test_an_always_step_that_runs_when_the_cancel_comes_goes_on(stack: Stack) -> None:
    gate = asyncio.Event()

    async def tidies(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    node = await stack.node(tidy=tidies)
    handle = await stack.submit("""
name: tidy
steps:
  - {name: tidy, type: command, command: "true", always: true}
  - {name: never, type: command, command: "true"}
""")
    await node.started["tidy"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="stop"))
    await handle.cancel()

    async def canceling() -> bool:
        return (await stack.record(handle)).reason == "CANCELING"

    await eventually(canceling)
    gate.set()
    record = await stack.finish(handle)
    assert record.state is PipelineState.CANCELED
    assert [step.state.value for step in record.steps] == ["completed", "skipped"]
    assert node.stops == []


async def test_a_node_that_cannot_remove_a_workspace_is_no_unreachable_node(stack: Stack) -> None:
    node = await stack.node(endless=until_stopped)
    node.refused.add("clean_workspace")
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.cancel(reason="enough")
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.CANCELED, "CANCELED")
    assert record.message == f"enough; node {node.id} did not remove the workspace: busy"
    assert await stack.store.placements.live_allocations() == ()
    assert await stack.store.nodes.stop_orders(node.id) == ()


async def test_a_step_that_completed_before_the_stop_stays_completed(stack: Stack) -> None:
    async def finishes(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.stopping(assignment).wait()
        return done()

    node = await stack.node(endless=finishes)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await handle.cancel()
    record = await stack.finish(handle)
    assert record.state is PipelineState.CANCELED
    assert record.steps[1].state.value == "completed"


async def test_a_pipeline_that_waits_for_a_node_is_canceled_at_once(stack: Stack) -> None:
    handle = await stack.submit(ENDLESS)

    async def queued() -> bool:
        return (await stack.record(handle)).reason == "NO_CAPACITY"

    await eventually(queued)
    await handle.cancel(reason="changed my mind")
    record = await stack.finish(handle)
    assert record.state is PipelineState.CANCELED
    assert {step.state.value for step in record.steps} == {"skipped"}
    assert await stack.store.placements.queue() == ()


async def test_on_an_unreachable_node_it_ends_within_grace_and_thirty_seconds(
    stack: Stack,
) -> None:
    node = await stack.node(endless=until_stopped)
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    await stack.nodes.aclose()
    begun = asyncio.get_running_loop().time()
    await handle.signal("cancel_pipeline", CancelOrder(reason="gone", grace_seconds=1))
    record = await stack.finish(handle)
    assert asyncio.get_running_loop().time() - begun < 31
    assert record.state is PipelineState.CANCELED
    assert record.reason == "NODE_UNREACHABLE"
    assert len(await stack.store.nodes.stop_orders(node.id)) >= 1
    assert len(await stack.store.placements.live_allocations()) == 1


async def test_a_node_that_dies_under_an_always_step_does_not_hold_the_cancel(stack: Stack) -> None:
    stack.with_settings(schedule_to_start_seconds=60, heartbeat_seconds=30)
    node = await stack.node(endless=until_stopped)
    node.mute.add(("tidy", 1))
    handle = await stack.submit(ENDLESS)
    await node.started["endless"].wait()
    begun = asyncio.get_running_loop().time()
    await handle.signal("cancel_pipeline", CancelOrder(grace_seconds=1))
    await node.started["tidy"].wait()
    await stack.nodes.aclose()
    record = await stack.finish(handle)
    assert asyncio.get_running_loop().time() - begun < 31
    assert (record.state, record.reason) == (PipelineState.CANCELED, "NODE_UNREACHABLE")
    assert record.steps[-1].reason == "NOT_DELIVERED"
    assert len(await stack.store.nodes.stop_orders(node.id)) >= 1


async def test_an_always_step_that_no_node_took_does_not_hold_the_cancel(stack: Stack) -> None:
    stack.with_settings(schedule_to_start_seconds=120)
    node = await stack.node()
    await stack.nodes.aclose()
    handle = await stack.submit("""
name: tidy
steps:
  - {name: tidy, type: command, command: "true", always: true, retry: {max_attempts: 3}}
""")

    async def placed() -> bool:
        return (await stack.record(handle)).node_id == node.id

    await eventually(placed)
    begun = asyncio.get_running_loop().time()
    await handle.signal("cancel_pipeline", CancelOrder(grace_seconds=0))
    record = await stack.finish(handle)
    assert asyncio.get_running_loop().time() - begun < 32
    assert (record.state, record.reason) == (PipelineState.CANCELED, "NODE_UNREACHABLE")
