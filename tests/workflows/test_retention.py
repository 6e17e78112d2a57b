"""What is old is removed: by a workflow, which a schedule starts."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client, ScheduleHandle

from gamepipe.model import latency as ends
from gamepipe.model.latency import Probe
from gamepipe.model.record import EventKind
from gamepipe.model.state import PipelineState
from gamepipe.scheduling.probe import FORGOTTEN
from gamepipe.wire import CONTROL_QUEUE, CleanUp
from tests.workflows.conftest import Stack
from tests.workflows.node import now, register
from tests.workflows.test_run import THREE
from worker import schedule_retention

DAY = timedelta(days=1)


async def _end(stack: Stack, pipeline_id: str, *, ago: timedelta) -> None:
    at = now() - ago
    await stack.store.pipelines.update_status(
        pipeline_id, PipelineState.CANCELED, reason="CANCELED", message="", now=at
    )


async def test_old_pipelines_events_and_gateways_are_removed_batch_by_batch(stack: Stack) -> None:
    for number in range(5):
        handle = await stack.submit(THREE, pipeline_id=f"old{number}")
        await handle.terminate()
        await _end(stack, f"old{number}", ago=3 * DAY)
    young = await stack.submit(THREE, pipeline_id="young")
    await young.terminate()
    await _end(stack, "young", ago=DAY)
    await register(stack.store, "node-of-today")
    for name, ago in (("gone", 3 * DAY), ("here", timedelta())):
        at = now() - ago
        await stack.store.nodes.gateway_beat(name, started_at=at, ttl=DAY, now=at)
    for region, ago in (("silent", FORGOTTEN + DAY), ("told", DAY)):
        probe = Probe(source=ends.region(region), node_id="node-of-today", rtt_ms=9, at=now() - ago)
        await stack.store.latencies.report([probe], now=now())
    last = await stack.store.events.last_id()
    removed = await stack.client.execute_workflow(
        "Retention",
        CleanUp(retention_seconds=(2 * DAY).total_seconds(), batch=2),
        id=f"retention-test-{id(stack)}",
        task_queue=CONTROL_QUEUE,
        result_type=int,
    )
    assert removed == 5
    assert [one.id for one in await stack.store.pipelines.list_live()] == []
    assert (await stack.store.pipelines.get("young")).state is PipelineState.CANCELED
    assert [name for name, _, _ in await stack.store.nodes.gateways()] == ["here"]
    ways = await stack.store.latencies.ways("node-of-today")
    assert [way.source.name for way in ways] == ["told"]
    assert len(await stack.store.events.read(after_id=last)) == 5, "PIPELINE_DELETED, each"


@pytest.fixture
async def schedule(temporal_client: Client) -> AsyncIterator[ScheduleHandle]:
    await schedule_retention(temporal_client, 30 * DAY)
    handle = temporal_client.get_schedule_handle("gamepipe-retention")
    yield handle
    await handle.delete()


async def test_the_schedule_follows_the_setting_and_keeps_what_people_did_to_it(
    temporal_client: Client, schedule: ScheduleHandle
) -> None:
    await schedule.pause(note="while we look into something")
    await schedule_retention(temporal_client, 7 * DAY)
    present = (await schedule.describe()).schedule
    assert present.state.paused
    assert present.state.note == "while we look into something"
    (argument,) = present.action.args  # type: ignore[union-attr]
    assert str((7 * DAY).total_seconds()) in argument.data.decode()
    await schedule.unpause()
    await schedule_retention(temporal_client, 7 * DAY)
    assert not (await schedule.describe()).schedule.state.paused


async def test_a_follower_whose_last_event_was_removed_goes_on_behind_it(stack: Stack) -> None:
    await register(stack.store, "n1")
    seen = await stack.store.events.last_id()
    assert await stack.store.events.cleanup(before=now() + DAY, limit=1000) == seen
    assert await stack.store.events.read() == ()
    await register(stack.store, "n1")
    (event,) = await stack.store.events.read(after_id=seen)
    assert (event.id, event.kind) == (seen + 1, EventKind.NODE_REGISTERED)
