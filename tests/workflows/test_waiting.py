"""`on_node_lost: wait`: a week of it costs little, and the return of the node ends it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from activities.liveness import TELL_AGAIN, NodeSweep
from gamepipe.model.state import Connectivity, PipelineState
from gamepipe.wire import NodeBack, NodeLost, RunSettings
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, complete, now
from tests.workflows.test_limits import EVENT_LIMIT
from tests.workflows.test_node_lost import _file, _silent, is_running

Handle = WorkflowHandle[object, object]
WEEK = timedelta(days=7)


async def _away(stack: Stack, **settings: float) -> tuple[ScriptedNode, Handle]:
    """A pipeline whose node died under its second step."""
    quick = {"heartbeat_seconds": 0.5, "schedule_to_start_seconds": 0.5}
    stack.with_settings(**quick | settings)
    node = await stack.node(two=_silent)
    handle = await stack.submit(_file("wait"))
    await eventually(lambda: is_running(stack, handle))
    await stack.nodes.aclose()
    return node, handle


async def _lose(stack: Stack, node: ScriptedNode, handle: Handle) -> None:
    await stack.store.nodes.mark(node.id, Connectivity.LOST, now=now())
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))


def _of(kind: EventType.ValueType) -> Callable[[HistoryEvent], bool]:
    return lambda event: event.event_type == kind


async def _dispatches(handle: Handle) -> list[int]:
    """Ids of the events of `run_step`."""
    scheduled = _of(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    return [event.event_id async for event in handle.fetch_history_events() if scheduled(event)]


async def _told(handle: Handle, expected: list[str]) -> bool:
    """Signals appear in history with the next workflow task."""
    signaled = _of(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    names = [
        event.workflow_execution_signaled_event_attributes.signal_name
        async for event in handle.fetch_history_events()
        if signaled(event)
    ]
    return [name for name in names if name != "report_step"] == expected


async def test_a_week_of_waiting_stays_far_below_the_limit_of_history(stack: Stack) -> None:
    node, handle = await _away(stack, lost_node_look_seconds=0.5)
    await _lose(stack, node, handle)

    async def some_cycles() -> bool:
        return len(await _dispatches(handle)) >= 7

    await eventually(some_cycles)
    *_, first, _, _, last = await _dispatches(handle)
    await handle.terminate()
    usual = RunSettings()
    cycle = timedelta(seconds=usual.lost_node_look_seconds + usual.schedule_to_start_seconds)
    signals = 4 * (WEEK / TELL_AGAIN)  # each with a workflow task of its own
    assert (last - first) / 3 * (WEEK / cycle) + signals < EVENT_LIMIT / 2


async def test_nothing_is_dispatched_until_the_node_is_back(stack: Stack) -> None:
    node, handle = await _away(stack, lost_node_look_seconds=3600)
    await _lose(stack, node, handle)

    async def waits_for_the_node() -> bool:
        timer = _of(EventType.EVENT_TYPE_TIMER_STARTED)
        pauses = [
            event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            async for event in handle.fetch_history_events()
            if timer(event)
        ]
        return timedelta(hours=1) in pauses

    await eventually(waits_for_the_node)
    assert (await stack.record(handle)).reason == "WAITING_FOR_NODE"
    node.behaviours["two"] = complete
    async with node.worker():
        await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
        record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.COMPLETED, "")
    assert {a.attempt for a in node.assignments} == {1}


async def test_a_cancel_does_not_wait_for_the_node(stack: Stack) -> None:
    node, handle = await _away(stack, lost_node_look_seconds=3600)
    await _lose(stack, node, handle)
    begun = asyncio.get_running_loop().time()
    await handle.cancel()
    record = await stack.finish(handle)
    assert asyncio.get_running_loop().time() - begun < 31
    assert (record.state, record.reason) == (PipelineState.CANCELED, "NODE_UNREACHABLE")


async def test_silent_dispatches_come_ever_slower(stack: Stack) -> None:
    """Before anybody knows that the node is lost."""
    _, handle = await _away(stack)

    async def paused() -> list[timedelta]:
        pauses = [
            event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            async for event in handle.fetch_history_events()
            if _of(EventType.EVENT_TYPE_TIMER_STARTED)(event)
        ]
        longer = [pause for pause in pauses if pause >= timedelta(seconds=1)]
        return longer if len(longer) >= 3 else []

    assert [pause.total_seconds() for pause in await eventually(paused)] == [1, 2, 4]
    await handle.terminate()


async def test_the_sweep_tells_of_a_loss_and_of_a_return_once(stack: Stack) -> None:
    node, handle = await _away(stack, schedule_to_start_seconds=30, lost_node_look_seconds=3600)
    await stack.store.nodes.mark(node.id, Connectivity.LOST, now=now())
    ahead = timedelta(hours=1)
    sweep = NodeSweep(
        store=stack.store, client=stack.client, ttl=timedelta(seconds=3), now=lambda: now() + ahead
    )
    for _ in range(5):
        await sweep.run_once()
    ahead = timedelta()
    for _ in range(5):
        await sweep.run_once()
    await handle.signal("node_back", NodeBack(node_id="another", generation=1))
    expected = ["node_lost", "node_back", "node_back"]
    await eventually(lambda: _told(handle, expected), what="one of each, and the one of the test")
    await handle.terminate()


async def test_the_sweep_tells_again_after_a_while(stack: Stack) -> None:
    node, handle = await _away(stack, schedule_to_start_seconds=30, lost_node_look_seconds=3600)
    await stack.store.nodes.mark(node.id, Connectivity.LOST, now=now())
    ahead = timedelta(hours=1)
    sweep = NodeSweep(
        store=stack.store, client=stack.client, ttl=timedelta(seconds=3), now=lambda: now() + ahead
    )
    await sweep.run_once()
    ahead += TELL_AGAIN
    await sweep.run_once()
    await eventually(lambda: _told(handle, ["node_lost", "node_lost"]))
    await handle.terminate()
