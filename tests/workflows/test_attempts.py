"""Attempts of a step, and their dispatches: which follow, and what is still heard of them."""

import asyncio
from dataclasses import replace

from gamepipe.model.record import EventKind, PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.wire import ReportKind, StepAssignment, StepResult
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import (
    ScriptedNode,
    done,
    failed,
    fails,
    not_delivered,
)
from tests.workflows.test_run import THREE


async def test_a_step_is_retried_until_it_completes(stack: Stack) -> None:
    node = await stack.node(flaky=fails(2))
    record = await stack.finish(
        await stack.submit("""
name: retrying
steps:
  - name: flaky
    type: command
    command: "true"
    retry: {max_attempts: 3, initial: 0.01, factor: 2}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert [assignment.attempt for assignment in node.assignments] == [1, 2, 3]
    kinds = [e.kind for e in await stack.store.events.read(pipeline_id=record.id)]
    assert kinds.count(EventKind.ATTEMPT_ENDED) == 2


async def test_a_refusal_is_not_retried(stack: Stack) -> None:
    async def refuse(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return failed(started_at=None, exit_code=None, retryable=False, reason="UNSUPPORTED_FIELD")

    node = await stack.node(refused=refuse)
    record = await stack.finish(
        await stack.submit("""
name: refused
steps:
  - {name: refused, type: command, command: "true", retry: {max_attempts: 5, initial: 0.01}}
""")
    )
    assert record.state is PipelineState.FAILED
    assert len(node.assignments) == 1


async def test_a_dispatch_that_was_not_delivered_is_sent_again_as_the_same_attempt(
    stack: Stack,
) -> None:
    node = await stack.node(one=not_delivered)
    record = await stack.finish(await stack.submit(THREE))
    assert record.state is PipelineState.COMPLETED
    seen = [(a.attempt, a.dispatch) for a in node.assignments if a.step.name == "one"]
    assert seen == [(1, 1), (1, 2), (1, 3)]


async def test_reports_of_a_running_step_reach_the_store(stack: Stack) -> None:
    go_on = asyncio.Event()

    async def slow(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await node.report(assignment, ReportKind.PROGRESS, percent=40)
        await go_on.wait()
        return done()

    await stack.node(two=slow)
    handle = await stack.submit(THREE)

    async def at_forty() -> PipelineRecord | None:
        record = await stack.record(handle)
        return record if record.steps[1].percent == 40 else None

    record = await eventually(at_forty)
    assert record.steps[1].state.value == "running"
    assert record.progress.current == ("two",)
    assert record.progress.percent == 46.7
    go_on.set()
    assert (await stack.finish(handle)).state is PipelineState.COMPLETED


async def test_late_reports_of_an_older_attempt_change_nothing(stack: Stack) -> None:
    async def confuse(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        if assignment.attempt == 1:
            return failed()
        await node.report(replace(assignment, attempt=1), ReportKind.PROGRESS, percent=99)
        await node.report(assignment, ReportKind.RUNNING)
        return done()

    await stack.node(only=confuse)
    record = await stack.finish(
        await stack.submit("""
name: late
steps:
  - {name: only, type: command, command: "true", retry: {max_attempts: 2, initial: 0.01}}
""")
    )
    events = await stack.store.events.read(pipeline_id=record.id)
    assert EventKind.STEP_PROGRESSED not in [event.kind for event in events]


async def test_a_late_report_does_not_revive_an_attempt_that_ended(stack: Stack) -> None:
    node = await stack.node(only=fails(1))
    handle = await stack.submit("""
name: late
steps:
  - {name: only, type: command, command: "x", retry: {max_attempts: 2, initial: 2s}}
""")

    async def ended() -> bool:
        return (await stack.record(handle)).steps[0].attempt_ended

    await eventually(ended)
    await node.report(node.assignments[0], ReportKind.RUNNING)
    record = await stack.finish(handle)
    events = await stack.store.events.read(pipeline_id=record.id)
    states = [
        (event.data["attempt"], event.data["state"])
        for event in events
        if event.kind is EventKind.STEP_STATE_CHANGED
    ]
    assert states == [
        (1, "running"),
        (1, "pending"),
        (2, "running"),
        (2, "completed"),
    ]
