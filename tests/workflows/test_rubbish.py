"""An agent that answers rubbish fails a step, and hangs no pipeline."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity

from gamepipe.model.record import EventKind
from gamepipe.model.state import InstanceState, PipelineState, StepState
from gamepipe.stopping import Stopper
from gamepipe.wire import (
    CancelOrder,
    CleanWorkspace,
    ReportKind,
    StepAssignment,
    StepResult,
    StopStep,
)
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import Behaviour, ScriptedNode, done, now, register, until_stopped
from tests.workflows.shapes import service_up

FILE = """
name: rubbish
steps:
  - {name: one, type: command, command: "true", retry: {max_attempts: 2, initial: 0.01}}
  - {name: two, type: command, command: "true"}
"""
GOOD = {"state": "completed", "started_at": None, "ended_at": "2026-01-01T00:00:00+00:00"}


def at_first(answer: Any) -> Behaviour:
    """Answer so to the first attempt."""

    async def run(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return answer if assignment.attempt == 1 else done()  # type: ignore[no-any-return]

    return run


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "completed",
        [],
        {},
        {"state": "completed"},
        GOOD | {"state": "mended"},
        GOOD | {"state": "pending"},
        GOOD | {"ended_at": "yesterday"},
        GOOD | {"ended_at": "2026-01-01T00:00:00"},
        GOOD | {"exit_code": 2**31},
        GOOD | {"log_lines": -1},
        GOOD | {"outputs": {"size": 7}},
        GOOD | {"instance": {"id": "game"}},
    ],
    ids=repr,
)
async def test_an_end_that_is_none_fails_the_attempt_and_the_next_one_runs(
    stack: Stack, answer: Any
) -> None:
    node = await stack.node(one=at_first(answer))
    handle = await stack.submit(FILE)
    record = await stack.finish(handle)
    assert (record.state, record.steps[0].attempt) == (PipelineState.COMPLETED, 2)
    events = await stack.store.events.read(pipeline_id=record.id, after_id=0, limit=100)
    (ended,) = [event for event in events if event.kind is EventKind.ATTEMPT_ENDED]
    assert ended.data["reason"] == "RUNNER_ERROR"
    assert ended.data["message"].startswith("the agent failed: ")
    assert node.names() == ["one", "one", "two"]


@pytest.mark.parametrize("percent", [math.nan, math.inf, -1.0, 100.5])
async def test_a_progress_that_is_none_leaves_the_last_one(stack: Stack, percent: float) -> None:
    async def run(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await node.report(assignment, ReportKind.PROGRESS, 40.0)
        await node.report(assignment, ReportKind.PROGRESS, percent)
        await node.report(assignment, ReportKind.PROGRESS, percent, message="unpacking")
        return done()

    await stack.node(one=run)
    record = await stack.finish(await stack.submit(FILE))
    assert record.state is PipelineState.COMPLETED
    events = await stack.store.events.read(pipeline_id=record.id, after_id=0, limit=100)
    told = [
        (one.data["percent"], one.data["message"])
        for one in events
        if one.kind is EventKind.STEP_PROGRESSED
    ]
    assert told == [(40.0, ""), (40.0, ""), (40.0, "unpacking")]


@pytest.mark.parametrize("other", [{"pipeline_id": "another"}, {"id": "another.g1.s1"}])
async def test_a_game_of_another_pipeline_is_not_taken(stack: Stack, other: dict[str, str]) -> None:
    async def of_another(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        end = await service_up(node, assignment)
        assert end.instance is not None
        return replace(end, instance=replace(end.instance, **other))

    await stack.node(two=of_another)
    record = await stack.finish(await stack.submit(FILE))
    assert record.state is PipelineState.FAILED
    assert (record.steps[1].state, record.steps[1].reason) == (StepState.FAILED, "RUNNER_ERROR")
    assert await stack.store.instances.list() == ()


class Careless(ScriptedNode):
    """Carries orders out, and answers anything."""

    @activity.defn(name="stop_step")
    async def stop_step(self, stop: StopStep) -> Any:
        await super().stop_step(stop)
        return ["stopped"]

    @activity.defn(name="clean_workspace")
    async def clean_workspace(self, order: CleanWorkspace) -> Any:
        await super().clean_workspace(order)
        return 7

    @activity.defn(name="stop_instance")
    async def stop_instance(self, order: Any) -> Any:
        await super().stop_instance(order)
        return "gone"


async def careless(stack: Stack, node_id: str, **behaviours: Behaviour) -> Careless:
    node = Careless(stack.client, node_id, **behaviours)
    await register(stack.store, node_id)
    await stack.nodes.enter_async_context(node.worker())
    return node


async def test_orders_that_were_carried_out_count_whatever_the_answer(stack: Stack) -> None:
    node = await careless(stack, "careless", one=until_stopped)
    handle = await stack.submit(FILE)
    await node.started["one"].wait()
    await handle.signal("cancel_pipeline", CancelOrder())
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.CANCELED, "CANCELED")
    assert len(node.stops) == len(node.cleaned) == 1
    assert await stack.store.nodes.stop_orders("careless") == ()


async def test_a_game_that_was_stopped_is_stopped_whatever_the_answer(stack: Stack) -> None:
    await careless(stack, "careless-host", two=service_up)
    record = await stack.finish(await stack.submit(FILE))
    (game,) = await stack.store.instances.list(pipeline_id=record.id)
    stopper = Stopper(store=stack.store, client=stack.client, now=now)
    await stopper.stop_instance(game, timedelta(seconds=1))

    async def stopped() -> bool:
        return (await stack.store.instances.get(game.id)).state is InstanceState.STOPPED

    await eventually(stopped)
