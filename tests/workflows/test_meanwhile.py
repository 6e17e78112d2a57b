"""What reaches a run while the store answers it, and what its history cannot hold."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities.control import ControlActivities
from gamepipe.model.record import EventKind
from gamepipe.model.state import Connectivity, PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.wire import (
    CancelOrder,
    NodeBack,
    NodeLost,
    PlaceAnswer,
    PlaceRequest,
    SaveRequest,
    SaveStatus,
)
from store.placement import PlacementStore
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import now
from tests.workflows.test_replay import replay_and_record

FILE = """
name: meanwhile
on_node_lost: reschedule
steps:
  - {name: only, type: command, command: "true"}
"""
Handle = WorkflowHandle[object, object]


@asynccontextmanager
async def being_placed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, *, decided: bool = False
) -> AsyncIterator[Handle]:
    """A run that hears nothing of its placement until the block ends; `decided`: it is made."""
    asked, answered = asyncio.Event(), asyncio.Event()
    place = PlacementStore.place

    async def slowly(self: PlacementStore, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        if decided:
            answer = await place(self, request, now=now)
        asked.set()
        await answered.wait()
        return answer if decided else await place(self, request, now=now)

    with monkeypatch.context() as patched:
        patched.setattr(PlacementStore, "place", slowly)
        handle = await stack.submit(FILE)
        await asked.wait()
        yield handle
        await handle.query("progress")  # it has heard everything that was said before
        answered.set()


@pytest.mark.parametrize("room", [True, False], ids=["room", "no room"])
async def test_a_cancel(stack: Stack, monkeypatch: pytest.MonkeyPatch, room: bool) -> None:
    if room:
        node = await stack.node()
    async with being_placed(stack, monkeypatch) as handle:
        await handle.signal("cancel_pipeline", CancelOrder(reason="stop it"))
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.CANCELED, "CANCELED")
    assert record.message == "stop it"
    events = [e for e in await stack.store.events.read(pipeline_id=record.id) if e.number]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    told = [e.data for e in events if e.kind is EventKind.PIPELINE_STATE_CHANGED]
    states = [(one["previous"], one["state"], one["reason"]) for one in told]
    held = "running" if room else "pending"
    assert states[-2:] == [(held, held, "CANCELING"), (held, "canceled", "CANCELED")]
    for (_, state, _), (previous, _, _) in pairwise(states):
        assert previous == state
    assert await stack.store.placements.live_allocations() == ()
    assert await stack.store.placements.queue() == ()
    assert not room or node.assignments == []
    await replay_and_record(await handle.fetch_history(), f"canceled_{held}")


async def test_the_loss_of_its_node(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dispatched there: whoever watches the node tells of it once in a while only."""
    first = await stack.node("a-first")
    async with being_placed(stack, monkeypatch, decided=True) as handle:
        await stack.store.nodes.mark(first.id, Connectivity.LOST, now=now())
        await handle.signal("node_lost", NodeLost(node_id=first.id, generation=1))
        second = await stack.node("b-second")
    record = await stack.finish(handle)
    assert (record.state, record.node_id) == (PipelineState.COMPLETED, second.id)
    assert (record.generation, first.assignments) == (2, [])


async def test_a_loss_that_is_over(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await stack.node()
    async with being_placed(stack, monkeypatch, decided=True) as handle:
        for news in (NodeLost, NodeBack):
            name = "node_lost" if news is NodeLost else "node_back"
            await handle.signal(name, news(node_id=node.id, generation=1))
    record = await stack.finish(handle)
    assert (record.state, record.generation) == (PipelineState.COMPLETED, 1)


async def test_what_is_too_large_for_history(stack: Stack) -> None:
    """The end of five hundred steps at once, each with a long reason, is 6 MB."""
    steps = [{"name": f"s{number}", "type": "command", "command": "true"} for number in range(500)]
    handle = await stack.submit(json.dumps({"name": "large", "steps": steps}))

    async def waits() -> bool:
        return bool(await stack.store.placements.queue())

    await eventually(waits)
    reason = "\N{CYRILLIC SMALL LETTER ZHE}" * 1000
    await handle.signal("cancel_pipeline", CancelOrder(reason=reason))
    record = await stack.finish(handle)
    assert (record.state, record.message) == (PipelineState.CANCELED, reason)
    assert record.steps[-1].message == reason


async def test_what_a_reset_hands_on_is_the_new_runs(stack: Stack) -> None:
    """The request was written by the run of before; Temporal tells for whom it is carried out."""
    handle = await stack.submit(FILE)
    record = await stack.record(handle)
    await handle.terminate()
    told = ActivityEnvironment()
    told.info = replace(told.info, workflow_run_id="new")
    request = SaveRequest(
        pipeline_id=record.id,
        incarnation=record.incarnation,
        run_id="old",
        revision=1000,
        state=PipelineState.PENDING,
        generation=1,
        progress=record.progress,
    )
    control = ControlActivities(
        store=stack.store, client=stack.client, notices=NoticeSender(stack.client), now=now
    )
    await stack.store.pipelines.take_over(record.id, run_id="new", now=now())
    ack = await told.run(control.save_progress, request)
    assert ack.status is not SaveStatus.STALE_RUN
    assert (await stack.record(handle)).run_id == "new"
