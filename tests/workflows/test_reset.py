"""A pipeline whose workflow is reset in Temporal: the row tells what the new run has done."""

import asyncio

from temporalio.client import WorkflowExecutionStatus

from gamepipe.model.record import EventKind
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.wire import ReportKind, StepAssignment, StepResult
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, now, until_stopped
from tests.workflows.preempting import high, low, running, waits
from tests.workflows.resetting import completed_tasks, reset, reset_to_first_task
from tests.workflows.test_node_lost import _file, _lose, _silent
from tests.workflows.test_run import THREE


async def _states(stack: Stack, pipeline_id: str) -> list[str]:
    return [step.state.value for step in (await stack.store.pipelines.get(pipeline_id)).steps]


async def test_steps_that_the_new_run_has_not_come_to_are_pending_again(stack: Stack) -> None:
    gate = asyncio.Event()

    async def waits(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    node = await stack.node(three=until_stopped)
    handle = await stack.submit(THREE)
    record = await stack.record(handle)

    async def see(*expected: str) -> None:
        async def seen() -> bool:
            return await _states(stack, record.id) == list(expected)

        await eventually(seen, what=f"{expected}")

    await see("completed", "completed", "running")
    node.behaviours.update(one=waits)
    del node.behaviours["three"]
    await reset_to_first_task(stack, handle)
    await see("running", "pending", "pending")
    (told,) = await stack.store.events.read(kinds=(EventKind.PIPELINE_RESET,))
    assert (told.pipeline_id, told.data["steps"]) == (record.id, ["one", "two", "three"])
    progress = (await stack.record(handle)).progress
    assert (progress.ended, progress.current) == (0, ("one",))
    gate.set()
    assert (await stack.finish(handle)).state is PipelineState.COMPLETED
    assert await _states(stack, record.id) == ["completed"] * 3


async def test_what_the_new_run_remembers_as_done_stays_done(stack: Stack) -> None:
    node = await stack.node(two=until_stopped, three=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()

    async def two_runs() -> bool:
        return (await stack.record(handle)).progress.current == ("two",)

    await eventually(two_runs)
    tasks = await completed_tasks(handle)
    node.behaviours.clear()
    await reset(stack, handle, tasks[-1])
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert [step.state.value for step in record.steps] == ["completed"] * 3
    assert record.progress.ended == 3


async def test_no_generation_of_the_old_run_keeps_its_node(stack: Stack) -> None:
    first = await stack.node("a-reset", two=_silent)
    handle = await stack.submit(_file("reschedule"))
    await first.started["two"].wait()
    second = await stack.node("b-reset", two=until_stopped)
    await _lose(stack, first, handle.id)
    await second.started["two"].wait()

    async def placed_again() -> bool:
        record = await stack.record(handle)
        return (record.generation, record.state) == (2, PipelineState.RUNNING)

    await eventually(placed_again)
    second.behaviours.clear()
    await reset_to_first_task(stack, handle)

    async def ordered() -> int:
        orders = await stack.store.nodes.stop_orders(second.id)
        return orders[0].id if orders else 0

    order = await eventually(ordered, what="a stop order for what the old run had there")
    assert await stack.store.placements.live_allocations() == ()
    offers = await stack.store.nodes.confirm_stop(order, node_id=second.id, now=now())
    await NoticeSender(stack.client).send(offers)
    record = await stack.finish(handle)
    assert (record.state, record.generation) == (PipelineState.COMPLETED, 1)
    assert await stack.store.placements.live_allocations() == ()


async def test_one_whose_place_others_have_by_now_fails_and_takes_none_of_it(
    stack: Stack,
) -> None:
    gate = asyncio.Event()

    async def plays(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    node = await stack.node(two=until_stopped, game=plays)
    victim = await stack.submit(low())
    await running(stack, victim)
    tasks = await completed_tasks(victim)
    above = await stack.submit(high())
    await node.started["game"].wait()
    assert (await waits(stack, victim)).generation == 2
    await reset(stack, victim, tasks[-1])

    async def failed() -> bool:
        return (await stack.record(victim)).state is PipelineState.FAILED

    await eventually(failed)
    record = await stack.record(victim)
    assert record.reason == "WORKFLOW_LOST"
    assert "its place there is not free any more" in record.message

    async def over() -> bool:
        return (await victim.describe()).status is not WorkflowExecutionStatus.RUNNING

    await eventually(over)
    held = await stack.store.placements.live_allocations()
    assert [f"pipeline-{one.pipeline_id}" for one in held] == [above.id]
    assert await stack.store.placements.queue() == ()
    gate.set()
    assert (await stack.finish(above)).state is PipelineState.COMPLETED
