"""A pipeline that makes room for one of a higher class, and runs again later."""

import asyncio

import pytest

from gamepipe.model.state import Connectivity, PipelineState, StepState
from gamepipe.notice import NoticeSender
from gamepipe.wire import (
    CancelOrder,
    NodeLost,
    Preempt,
    ReportKind,
    StepAssignment,
    StepResult,
)
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, now, until_stopped
from tests.workflows.preempting import high, low, once, running, waits
from tests.workflows.shapes import service_up


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
    await stack.listed_as(victim, "pending")
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
