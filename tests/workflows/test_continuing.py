"""A long run continues as new: nothing that comes meanwhile is lost, little is carried."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.node import NodeActivities
from gamepipe.connecting import connect_temporal
from gamepipe.embedded import temporal as embedded
from gamepipe.model.state import PipelineState, StepState
from gamepipe.wire import (
    CancelOrder,
    NodeBack,
    NodeLost,
    StepAssignment,
    StepResult,
    StepStatus,
    node_queue,
)
from store.store import GamePipelineStore
from tests.agent.node import Node
from tests.store_fixtures import NewStore
from tests.waiting import eventually
from tests.workflows.conftest import FAST, Stack
from tests.workflows.lastsave import SUGGESTED_AFTER, LastSave
from tests.workflows.node import ScriptedNode, complete, done, failed, register
from tests.workflows.shapes import service_up
from tests.workflows.test_limits import first_run_of
from tests.workflows.test_node_lost import _file, _silent, is_running
from tests.workflows.test_replay import replay_and_record
from worker import build_worker

Handle = WorkflowHandle[object, object]
EIGHT = "name: eight\nsteps:\n" + "".join(
    f"  - {{name: s{i}, type: command, command: 'true'}}\n" for i in range(8)
)


@pytest.fixture(scope="module")
async def short_histories(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        key = "limit.historyCount.suggestContinueAsNew"
        patch.setitem(embedded.DYNAMIC_CONFIG, key, str(SUGGESTED_AFTER))
        server = embedded.TemporalServer(data_dir=tmp_path_factory.mktemp("short"))
        await server.start()
    yield await connect_temporal(server.address, "default")
    await server.stop()


@pytest.fixture
async def stack(
    short_histories: Client, new_sqlite: NewStore, tmp_path: Path
) -> AsyncIterator[Stack]:
    store = await GamePipelineStore.open(new_sqlite(tmp_path))
    stack = Stack(client=short_histories, store=store, settings=replace(FAST))
    async with build_worker(short_histories, store):
        yield stack
        await stack.nodes.aclose()
    await store.close()


async def _has_continued(handle: Handle) -> bool:
    description = await handle.describe()
    return description.run_id != first_run_of(description)


async def _arrived(handle: Handle, kind: EventType.ValueType) -> None:
    async def there() -> bool:
        return any([event.event_type == kind async for event in handle.fetch_history_events()])

    await eventually(there, seconds=60)


@pytest.mark.parametrize("door", ["signal", "temporal"])
async def test_a_cancel_that_comes_meanwhile_counts(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    last_save = LastSave(stack, monkeypatch)
    node = await stack.node()
    handle = await stack.submit(EIGHT)
    await asyncio.wait_for(last_save.begun.wait(), 30)
    if door == "signal":
        await handle.signal("cancel_pipeline", CancelOrder(reason="stop it"))
        await _arrived(handle, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    else:
        await handle.cancel(reason="stop it")
        await _arrived(handle, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
    last_save.go_on.set()
    record = await stack.finish(handle)
    assert (record.state, record.message) == (PipelineState.CANCELED, "stop it")
    assert len(node.assignments) < 8


async def test_what_comes_during_the_last_save_is_saved(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own save has begun when the one that was waited for is through."""
    last_save = LastSave(stack, monkeypatch)
    node = await stack.node()
    handle = await stack.submit(EIGHT.replace("steps:", "on_node_lost: wait\nsteps:"))
    await asyncio.wait_for(last_save.begun.wait(), 30)
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    await handle.query("progress")
    last_save.go_on.set()
    await eventually(lambda: _has_continued(handle), what=f"{handle.id} to continue as new")
    await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    events = [e for e in await stack.store.events.read(pipeline_id=record.id) if e.number]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert "WAITING_FOR_NODE" in [event.data.get("reason") for event in events]


async def _replay_first_and_last(stack: Stack, handle: Handle) -> None:
    description = await handle.describe()
    runs = {
        "continued_first": first_run_of(description),
        "continued_last": description.run_id,
    }
    for name, run_id in runs.items():
        run = stack.client.get_workflow_handle(handle.id, run_id=run_id)
        await replay_and_record(await run.fetch_history(), name)


async def test_outputs_and_instances_are_carried(stack: Stack) -> None:
    async def make(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return done({"version": "42", "notes": "unused"})

    async def fail(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return failed()

    node = await stack.node(game=service_up, make=make, s8=fail)
    steps = "".join(f"  - {{name: s{i}, type: command, command: 'true'}}\n" for i in range(8))
    handle = await stack.submit(f"""
name: carried
steps:
  - {{name: game, type: service, container: {{image: game}}}}
  - {{name: make, type: command, command: "true"}}
{steps}
  - name: s8
    type: command
    if: steps.make.outputs.version == '42'
    command: "echo ${{{{ steps.make.outputs.version }}}}"
""")
    record = await stack.finish(handle)
    assert await _has_continued(handle)
    assert (record.state, record.reason) == (PipelineState.FAILED, "STEP_FAILED")
    await _replay_first_and_last(stack, handle)
    assert node.assignments[-1].scope.outputs == {"make": {"version": "42"}}
    assert record.steps[1].outputs == {"version": "42", "notes": "unused"}
    assert len(node.instance_stops) == 1


async def test_outputs_up_to_the_limit_do_not_hold_a_run_up(stack: Stack) -> None:
    async def big(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return done({"x": "y" * 31_000})

    await stack.node(**{f"s{i}": big for i in range(8)})
    handle = await stack.submit(EIGHT)
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert await _has_continued(handle)


async def test_outputs_above_the_limit_fail_the_step_with_the_remedy(stack: Stack) -> None:
    async def big(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return done({"x": "y" * 60_000})

    node = await stack.node(**{f"s{i}": big for i in range(8)})
    record = await stack.finish(await stack.submit(EIGHT))
    assert record.state is PipelineState.FAILED
    assert record.steps[4].reason == "OUTPUT_TOO_LARGE"
    assert "write large values to a file" in record.steps[4].message
    assert record.steps[4].outputs == {}
    assert len(node.assignments) == 5


async def _continues_while_it_waits(stack: Stack, handle: Handle) -> None:
    async def waits() -> str:
        record = await stack.record(handle)
        return record.run_id if record.reason == "WAITING_FOR_NODE" else ""

    first = await eventually(waits)

    async def continued() -> bool:
        return await waits() not in ("", first)

    await eventually(continued)


async def test_a_run_that_waits_for_its_node_continues_with_the_same_attempt(
    stack: Stack,
) -> None:
    stack.with_settings(
        heartbeat_seconds=0.5, schedule_to_start_seconds=0.2, lost_node_look_seconds=0.2
    )
    node = await stack.node(two=_silent)
    handle = await stack.submit(_file("wait"))
    await eventually(lambda: is_running(stack, handle))
    await stack.nodes.aclose()
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    await _continues_while_it_waits(stack, handle)
    node.behaviours["two"] = complete
    async with node.worker():
        await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
        record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.COMPLETED, "")
    assert {a.attempt for a in node.assignments} == {1}
    dispatches = [a.dispatch for a in node.assignments if a.step.name == "two"]
    assert dispatches == sorted(set(dispatches))


async def test_an_attempt_that_runs_on_its_node_is_adopted_after_the_run_continued(
    stack: Stack, tmp_path: Path
) -> None:
    """Its node was away, not dead: the step must neither be run anew nor stopped."""
    stack.with_settings(
        heartbeat_seconds=0.5, schedule_to_start_seconds=0.2, lost_node_look_seconds=0.2
    )
    real, ledger, gate = Node(tmp_path / "agent"), tmp_path / "ledger", tmp_path / "gate"
    activities = NodeActivities(real.runner, stack.client).all()
    await register(stack.store, "real")

    def serving() -> Worker:
        return Worker(stack.client, task_queue=node_queue("real"), activities=activities)

    script = f"echo ran >> {ledger}; until [ -e {gate} ]; do sleep 0.02; done"
    async with serving():
        text = _file("wait").replace("sleep 1000", script)
        handle = await stack.submit(text)
        await eventually(lambda: is_running(stack, handle))
    await handle.signal("node_lost", NodeLost(node_id="real", generation=1))
    await _continues_while_it_waits(stack, handle)
    gate.touch()
    async with serving():
        await handle.signal("node_back", NodeBack(node_id="real", generation=1))
        record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.COMPLETED, "")
    assert [step.attempt for step in record.steps] == [1, 1, 1]
    assert ledger.read_text() == "ran\n"
    await real.close()


async def test_a_cancel_ends_a_run_that_waits_for_its_node_after_it_continued(
    stack: Stack,
) -> None:
    stack.with_settings(
        heartbeat_seconds=0.5, schedule_to_start_seconds=0.2, lost_node_look_seconds=0.2
    )
    node = await stack.node(two=_silent)
    handle = await stack.submit(_file("wait"))
    await eventually(lambda: is_running(stack, handle))
    await stack.nodes.aclose()
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    await _continues_while_it_waits(stack, handle)
    await stack.client.get_workflow_handle(handle.id).cancel()
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.CANCELED, "NODE_UNREACHABLE")
    assert [step.state.value for step in record.steps] == ["completed", "failed", "skipped"]


async def test_a_client_may_end_a_step_that_waits_for_its_node_after_the_run_continued(
    stack: Stack,
) -> None:
    stack.with_settings(
        heartbeat_seconds=0.5, schedule_to_start_seconds=0.2, lost_node_look_seconds=0.2
    )
    node = await stack.node(two=_silent)
    handle = await stack.submit(_file("wait"))
    await eventually(lambda: is_running(stack, handle))
    await stack.nodes.aclose()
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    await _continues_while_it_waits(stack, handle)
    status = StepStatus(generation=1, step_index=1, attempt=1, state=StepState.COMPLETED)
    await handle.execute_update("step_status", status)
    async with node.worker():
        await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
        record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert node.names()[-1] == "three"
