"""A pipeline that makes room for one of a higher class, and runs again later."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from temporalio.client import WorkflowHandle

from activities.sweep import TELL_AGAIN, PipelineSweep
from gamepipe import searchattribute
from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import Connectivity, PipelineState, StepState
from gamepipe.notice import NoticeSender
from gamepipe.wire import (
    CancelOrder,
    NodeLost,
    Preempt,
    ReportKind,
    RunProgress,
    StepAssignment,
    StepResult,
)
from store.table import AllocationRow
from store.transaction import Transaction
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import Behaviour, ScriptedNode, done, now, until_stopped
from tests.workflows.shapes import service_up

Handle = WorkflowHandle[object, object]


def low(*more: str, preemptible: bool = True, head: str = "", cpu: int = 64) -> str:
    steps = "\n".join(f"  - {{{step}}}" for step in more)
    return f"""
name: low
{head}
resources: {{cpu: {cpu}}}
placement: {{preemptible: {str(preemptible).lower()}}}
steps:
  - {{name: one, type: command, command: "true"}}
  - {{name: two, type: command, command: "sleep 1000"}}
  - {{name: tidy, type: command, command: "true", always: true}}
{steps}
"""


def high(priority: int = 5) -> str:
    return f"""
name: high
priority: {priority}
resources: {{cpu: 64}}
steps:
  - {{name: game, type: command, command: "true"}}
"""


def once(behaviour: Behaviour) -> Behaviour:
    """In the first generation; later ones complete."""

    async def run(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return await behaviour(node, assignment) if assignment.generation == 1 else done()

    return run


async def running(stack: Stack, handle: Handle, step: int = 1) -> None:
    async def reported() -> bool:
        return (await stack.record(handle)).steps[step].state is StepState.RUNNING

    await eventually(reported)


async def waits(stack: Stack, handle: Handle) -> PipelineRecord:
    async def pending() -> bool:
        record = await stack.record(handle)
        return record.state is PipelineState.PENDING and bool(record.message)

    await eventually(pending)
    return await stack.record(handle)


async def test_it_waits_again_runs_again_and_completes(stack: Stack) -> None:
    gate = asyncio.Event()

    async def plays(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await gate.wait()
        return done()

    node = await stack.node(two=once(until_stopped), game=plays)
    victim = await stack.submit(low())
    await running(stack, victim)
    above = await stack.submit(high())
    await node.started["game"].wait()
    record = await waits(stack, victim)
    assert (record.generation, record.node_id) == (2, "")
    assert [step.state.value for step in record.steps] == ["pending"] * 3
    shown = (await victim.describe()).typed_search_attributes
    assert shown[searchattribute.STATE] == "pending"
    gate.set()
    assert (await stack.finish(above)).state is PipelineState.COMPLETED
    finished = await stack.finish(victim)
    assert (finished.state, finished.generation) == (PipelineState.COMPLETED, 2)
    assert node.names() == ["one", "two", "game", "one", "two", "tidy"]
    first, _ = await stack.store.pipelines.generations(record.id)
    assert [step.state.value for step in first.steps] == ["completed", "failed", "skipped"]
    assert {step.reason for step in first.steps[1:]} == {"PREEMPTED"}
    assert first.preempted_for == above.id.removeprefix("pipeline-")
    assert node.cleaned[0].generation == 1


async def test_its_events_say_for_whom(stack: Stack) -> None:
    await stack.node(two=once(until_stopped))
    victim = await stack.submit(low())
    await running(stack, victim)
    above = (await stack.submit(high())).id.removeprefix("pipeline-")
    record = await stack.finish(victim)
    found = await stack.store.events.read(pipeline_id=record.id)
    told = [
        (event.data["previous"], event.data["state"], event.data["message"])
        for event in found
        if event.data.get("reason") == "PREEMPTED" and event.kind.value.startswith("pipeline")
    ]
    assert told == [
        ("running", "running", f"makes room for {above}"),
        ("running", "pending", f"made room for {above}, whose priority is higher"),
    ]


@pytest.mark.parametrize(
    ("text", "above"),
    [(low(preemptible=False), high()), (low(head="priority: 5"), high())],
    ids=["not preemptible", "equal"],
)
async def test_others_are_left_alone(stack: Stack, text: str, above: str) -> None:
    node = await stack.node(two=until_stopped)
    victim = await stack.submit(text)
    await running(stack, victim)
    waiting = await stack.submit(above)
    assert "waits for" not in (await waits(stack, waiting)).message
    assert node.stops == []
    await victim.signal("cancel_pipeline", CancelOrder())
    await stack.finish(waiting)


async def test_a_cancel_that_comes_meanwhile_wins(stack: Stack) -> None:
    node = await stack.node(two=until_stopped)
    node.patient = True
    stack.with_settings(grace_seconds=30)
    victim = await stack.submit(low())
    await running(stack, victim)
    await stack.submit(high())

    async def stopping() -> bool:
        return bool(node.stops)

    await eventually(stopping)
    await victim.signal("cancel_pipeline", CancelOrder(reason="enough", grace_seconds=0))
    record = await stack.finish(victim)
    assert (record.state, record.generation) == (PipelineState.CANCELED, 1)
    assert record.message == "enough"
    assert "tidy" in node.names()


async def test_one_that_is_ending_or_of_another_generation_takes_no_notice(stack: Stack) -> None:
    gate = asyncio.Event()

    async def tidies(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    node = await stack.node(two=until_stopped, tidy=tidies)
    victim = await stack.submit(low())
    await running(stack, victim)
    await victim.signal("preempt", Preempt(generation=2, for_pipeline="x"))
    await victim.signal("cancel_pipeline", CancelOrder())
    await running(stack, victim, step=2)
    await victim.signal("preempt", Preempt(generation=1, for_pipeline="x"))
    gate.set()
    record = await stack.finish(victim)
    assert (record.state, record.generation) == (PipelineState.CANCELED, 1)
    assert [stop.step_index for stop in node.stops] == [1]
    assert record.steps[2].state is StepState.COMPLETED


async def test_an_order_that_comes_before_the_placement_that_it_is_about_counts(
    stack: Stack,
) -> None:
    victim = await stack.submit(low())
    await waits(stack, victim)
    for generation in (1, 2):
        await victim.signal("preempt", Preempt(generation=generation, for_pipeline="x"))
    await stack.node(two=once(until_stopped))
    offers = await stack.store.placements.offer(now=now())
    await NoticeSender(stack.client).send(offers)
    record = await stack.finish(victim)
    assert (record.state, record.generation) == (PipelineState.COMPLETED, 2)


async def test_one_whose_service_is_up_goes_on(stack: Stack) -> None:
    node = await stack.node(game=service_up, after=until_stopped)
    victim = await stack.submit("""
name: shape
placement: {preemptible: true}
steps:
  - {name: game, type: service, container: {image: game}}
  - {name: after, type: command, command: "sleep 1000"}
""")
    await running(stack, victim)
    await victim.signal("preempt", Preempt(generation=1, for_pipeline="x"))
    await victim.signal("preempt", Preempt(generation=1, for_pipeline="x"))
    assert (await victim.query("progress"))["state"] == "running"
    assert node.stops == []
    (held,) = await stack.store.placements.live_allocations()
    assert not held.preemptible
    await victim.signal("cancel_pipeline", CancelOrder())
    assert (await stack.finish(victim)).state is PipelineState.CANCELED


async def test_a_step_that_completes_before_its_stop_counts(stack: Stack) -> None:
    async def quick(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await node.stopping(assignment).wait()
        return done()

    node = await stack.node(one=quick)
    victim = await stack.submit("""
name: short
resources: {cpu: 64}
placement: {preemptible: true}
steps:
  - {name: one, type: command, command: "true"}
""")
    await running(stack, victim, step=0)
    above = await stack.submit(high())
    record = await stack.finish(victim)
    assert (record.state, record.reason, record.generation) == (PipelineState.COMPLETED, "", 1)
    assert (await stack.finish(above)).state is PipelineState.COMPLETED
    assert node.names() == ["one", "game"]


async def test_a_node_that_is_lost_meanwhile_is_what_counts(stack: Stack) -> None:
    node = await stack.node("a-lost", two=until_stopped)
    node.patient = True
    stack.with_settings(grace_seconds=30)
    victim = await stack.submit(low(head="on_node_lost: reschedule"))
    await running(stack, victim)
    await victim.signal("preempt", Preempt(generation=1, for_pipeline="x"))

    async def stopping() -> bool:
        return bool(node.stops)

    await eventually(stopping)
    await stack.node("b-left")
    await stack.store.nodes.mark(node.id, Connectivity.LOST, now=now())
    await victim.signal("node_lost", NodeLost(node_id=node.id, generation=1))
    record = await stack.finish(victim)
    assert (record.state, record.node_id, record.generation) == (
        PipelineState.COMPLETED,
        "b-left",
        2,
    )


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
    """As often as its history says."""
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
