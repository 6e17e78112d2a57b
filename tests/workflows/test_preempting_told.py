"""How often one that is to make room hears of it, and what it hears once it has left."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from activities.sweep import TELL_AGAIN, PipelineSweep
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.wire import (
    NodeLost,
    ReportKind,
    RunProgress,
    StepAssignment,
    StepResult,
)
from store.table import AllocationRow
from store.transaction import Transaction
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, now, until_stopped
from tests.workflows.preempting import Handle, high, low, once, running, waits


async def test_what_a_node_does_not_confirm_is_held_until_it_does(stack: Stack) -> None:
    node = await stack.node(two=until_stopped)
    node.refused = {"stop_step", "clean_workspace"}
    victim = await stack.submit(low())
    await running(stack, victim)
    above = await stack.submit(high())
    record = await waits(stack, victim)
    assert record.generation == 2
    assert (await waits(stack, above)).state is PipelineState.PENDING
    (order,) = await stack.store.nodes.stop_orders(node.id)
    assert (order.pipeline_id, order.generation) == (record.id, 1)


async def told_to_make_room(handle: Handle) -> int:
    """As often as its history says. A signal that comes amid a workflow task is there behind it,
    which is when a query is answered."""
    await handle.query("progress")
    history = await handle.fetch_history()
    signals = [event.workflow_execution_signaled_event_attributes for event in history.events]
    return sum(one.signal_name == "preempt" for one in signals)


async def test_one_that_waits_elsewhere_for_its_old_node_to_confirm_hears_no_more(
    stack: Stack,
) -> None:
    node = await stack.node(two=until_stopped)
    node.refused = {"stop_step", "clean_workspace"}
    victim = await stack.submit(low())
    await running(stack, victim)
    above = await stack.submit(high())
    assert (await waits(stack, victim)).generation == 2
    before = await told_to_make_room(victim)
    sweep = sweep_of(stack)
    for _ in range(3):
        await sweep.run_once()
    assert await told_to_make_room(victim) == before == 1
    await victim.terminate()
    await above.terminate()


async def test_one_that_takes_its_time_to_leave_is_told_again_now_and_then(stack: Stack) -> None:
    gate, ahead = asyncio.Event(), timedelta()

    async def does_not_stop(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    await stack.node(two=does_not_stop)
    victim = await stack.submit(low())
    await running(stack, victim)
    await stack.submit(high())

    async def told() -> bool:
        return await told_to_make_room(victim) == 1

    await eventually(told)
    sweep = sweep_of(stack, lambda: now() + ahead)
    for expected in (2, 2, 2):
        await sweep.run_once()
        assert await told_to_make_room(victim) == expected
    ahead += TELL_AGAIN
    await sweep.run_once()
    assert await told_to_make_room(victim) == 3
    gate.set()


def sweep_of(stack: Stack, clock: Callable[[], datetime] = now) -> PipelineSweep:
    return PipelineSweep(
        store=stack.store,
        client=stack.client,
        notices=NoticeSender(stack.client),
        settings=stack.settings,
        now=clock,
    )


async def test_the_sweep_tells_whoever_was_not_told(stack: Stack) -> None:
    """Here the process that served the queue ended before it said so."""
    await stack.node(two=once(until_stopped))
    victim = await stack.submit(low())
    await running(stack, victim)
    await may_be_preempted(stack, victim, False)
    above = await stack.submit(high())
    await waits(stack, above)
    await may_be_preempted(stack, victim, True)
    (asked,) = await stack.store.placements.offer(now=now())
    assert f"pipeline-{asked.pipeline_id}" == victim.id
    await sweep_of(stack).run_once()
    assert (await stack.finish(above)).state is PipelineState.COMPLETED
    record = await stack.finish(victim)
    assert (record.state, record.generation) == (PipelineState.COMPLETED, 2)
    assert await stack.store.placements.live_allocations() == ()


async def may_be_preempted(stack: Stack, handle: Handle, may: bool) -> None:
    def work(tx: Transaction) -> None:
        key = (handle.id.removeprefix("pipeline-"), 1)
        tx.session.get_one(AllocationRow, key).preemptible = may

    await stack.store._database.write(work, placing=True)


async def test_the_loss_of_the_node_that_it_left_is_no_news_to_one_that_waits_again(
    stack: Stack,
) -> None:
    node = await stack.node(two=until_stopped)
    node.refused = {"stop_step", "clean_workspace"}  # so that its place is held
    victim = await stack.submit(low(head="on_node_lost: wait"))
    await running(stack, victim)
    above = await stack.submit(high())
    assert (await waits(stack, victim)).generation == 2
    await victim.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    progress = await victim.query("progress", result_type=RunProgress)
    assert (progress.state, progress.reason) != (PipelineState.PENDING, "WAITING_FOR_NODE")
    for one in (victim, above):
        await one.terminate()
