"""What people do in Temporal's Web UI, and what crashes leave: the store tells the truth."""

import asyncio
from datetime import datetime, timedelta

import pytest
from temporalio.client import WorkflowHandle

from activities.sweep import PipelineSweep
from gamepipe.definition import bind, content_digest, parse_pipeline
from gamepipe.model.record import NewPipeline
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.wire import PlaceAnswer, PlaceRequest, PlaceStatus
from tests.waiting import eventually
from tests.workflows.conftest import FAST, Stack
from tests.workflows.node import now, until_stopped
from tests.workflows.resetting import reset_to_first_task
from tests.workflows.test_run import THREE


@pytest.fixture
def sweep(stack: Stack) -> PipelineSweep:
    return PipelineSweep(
        store=stack.store,
        client=stack.client,
        notices=NoticeSender(stack.client),
        settings=FAST,
        now=now,
    )


async def test_a_terminated_workflow_fails_its_pipeline_and_frees_its_node(
    stack: Stack, sweep: PipelineSweep
) -> None:
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    await handle.terminate("pressed in the Web UI")

    async def told() -> bool:
        await sweep.run_once()
        return (await stack.record(handle)).state.is_terminal

    await eventually(told)
    record = await stack.record(handle)
    assert (record.state, record.reason) == (PipelineState.FAILED, "WORKFLOW_LOST")
    assert "terminated" in record.message
    assert await stack.store.placements.live_allocations() == ()
    assert len(await stack.store.nodes.stop_orders(node.id)) == 1


async def test_a_row_without_a_workflow_is_started(stack: Stack, sweep: PipelineSweep) -> None:
    await stack.node()
    bound = bind(parse_pipeline(THREE), args={}, envs={}, secrets={})
    await stack.store.pipelines.add(
        NewPipeline(id="orphan", spec=bound.spec, content_digest=content_digest(bound)),
        now=now() - timedelta(minutes=1),
    )
    await sweep.run_once()

    async def completed() -> bool:
        return (await stack.store.pipelines.get("orphan")).state is PipelineState.COMPLETED

    await eventually(completed)


async def test_a_reset_run_takes_the_row_over_and_ends_it(
    stack: Stack, sweep: PipelineSweep
) -> None:
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    old_run = (await stack.record(handle)).run_id
    node.behaviours.clear()
    await reset_to_first_task(stack, handle)
    await sweep.run_once()
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert record.run_id != old_run
    assert await stack.store.placements.live_allocations() == ()


async def test_a_reset_run_goes_on_when_the_sweep_takes_the_row_over_under_its_placement(
    stack: Stack, sweep: PipelineSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the store's refusal of the new run and the look at who owns the row."""
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    node.behaviours.clear()
    place = stack.store.placements.place
    statuses: list[PlaceStatus] = []

    async def place_then_sweep(request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        answer = await place(request, now=now)
        statuses.append(answer.status)
        if answer.status is PlaceStatus.CLOSED:
            await sweep.run_once()
        return answer

    monkeypatch.setattr(stack.store.placements, "place", place_then_sweep)
    await reset_to_first_task(stack, handle)
    assert (await stack.finish(handle)).state is PipelineState.COMPLETED
    assert statuses == [PlaceStatus.CLOSED, PlaceStatus.INCOMPLETE, PlaceStatus.PLACED]


async def test_a_healthy_pipeline_is_left_alone(stack: Stack, sweep: PipelineSweep) -> None:
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    for _ in range(3):
        await sweep.run_once()
    assert (await stack.record(handle)).state is PipelineState.RUNNING
    await handle.cancel()
    await asyncio.wait_for(stack.finish(handle), 60)


async def _offer(stack: Stack) -> WorkflowHandle[object, object]:
    """A pipeline that waits, and is offered a node without a word to its workflow."""
    handle = await stack.submit(THREE)

    async def waits() -> bool:
        return bool(await stack.store.placements.queue())

    await eventually(waits)
    await stack.node()
    (offer,) = await stack.store.placements.offer(now=now())
    assert offer.pipeline_id == handle.id.removeprefix("pipeline-")
    return handle


async def test_an_offer_that_nobody_heard_of_is_sent_again(
    stack: Stack, sweep: PipelineSweep
) -> None:
    handle = await _offer(stack)
    await sweep.run_once()
    assert (await stack.finish(handle)).state is PipelineState.COMPLETED


async def test_an_offer_to_a_closed_workflow_is_freed(stack: Stack, sweep: PipelineSweep) -> None:
    handle = await _offer(stack)
    await handle.terminate()

    async def freed() -> bool:
        await sweep.run_once()
        return await stack.store.placements.live_allocations() == ()

    await eventually(freed)
    record = await stack.record(handle)
    assert (record.state, record.reason) == (PipelineState.FAILED, "WORKFLOW_LOST")
    assert await stack.store.nodes.stop_orders((await stack.store.nodes.list())[0].id) == ()
