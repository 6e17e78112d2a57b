"""What a run does with its steps: order, graph, conditions, timeouts, outputs."""

import asyncio
from collections.abc import Callable

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

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
    until_stopped,
)

States = Callable[[PipelineRecord], dict[str, str]]

THREE = """
name: three
steps:
  - {name: one, type: command, command: "true"}
  - {name: two, type: command, command: "true"}
  - {name: three, type: command, command: "true"}
"""


async def test_steps_run_in_order_and_the_pipeline_completes(stack: Stack, states: States) -> None:
    node = await stack.node()
    record = await stack.finish(await stack.submit(THREE))
    assert record.state is PipelineState.COMPLETED
    assert node.names() == ["one", "two", "three"]
    assert set(states(record).values()) == {"completed"}
    assert record.progress.percent == 100.0
    assert record.node_id == node.id
    assert await stack.store.placements.live_allocations() == ()


async def test_every_transition_is_an_event_numbered_without_gaps(stack: Stack) -> None:
    await stack.node()
    handle = await stack.submit(THREE)
    record = await stack.finish(handle)
    events = [
        event
        for event in await stack.store.events.read(pipeline_id=record.id)
        if event.number is not None
    ]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    steps = [
        (event.data["step"], event.data["state"])
        for event in events
        if event.kind is EventKind.STEP_STATE_CHANGED
    ]
    assert steps == [
        (name, state) for name in ("one", "two", "three") for state in ("running", "completed")
    ]


async def test_the_last_step_is_told_to_clean_up_so_that_no_activity_is_spent(
    stack: Stack,
) -> None:
    node = await stack.node()
    await stack.finish(await stack.submit(THREE))
    assert [assignment.clean_after for assignment in node.assignments] == [False, False, True]
    assert node.cleaned == []


async def test_independent_steps_run_at_the_same_time(stack: Stack) -> None:
    together = asyncio.Barrier(2)

    async def meet(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await asyncio.wait_for(together.wait(), 20)
        return done()

    node = await stack.node(left=meet, right=meet)
    record = await stack.finish(
        await stack.submit("""
name: diamond
steps:
  - {name: top, type: command, command: "true"}
  - {name: left, type: command, command: "true", needs: [top]}
  - {name: right, type: command, command: "true", needs: [top]}
  - {name: bottom, type: command, command: "true", needs: [left, right]}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert node.names()[0] == "top"
    assert node.names()[-1] == "bottom"


async def test_a_failure_skips_what_needs_it_and_runs_always_and_failure_steps(
    stack: Stack, states: States
) -> None:
    async def fail(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return failed(7)

    await stack.node(broken=fail)
    record = await stack.finish(
        await stack.submit("""
name: failing
steps:
  - {name: broken, type: command, command: "exit 7"}
  - {name: dependent, type: command, command: "true"}
  - {name: rescue, type: command, command: "true", if: failure(), needs: [broken]}
  - {name: tidy, type: command, command: "true", always: true}
""")
    )
    assert record.state is PipelineState.FAILED
    assert record.reason == "STEP_FAILED"
    assert "'broken'" in record.message
    assert states(record) == {
        "broken": "failed",
        "dependent": "skipped",
        "rescue": "completed",
        "tidy": "completed",
    }
    assert record.steps[0].exit_code == 7


async def test_a_tolerated_failure_does_not_fail_the_pipeline(stack: Stack) -> None:
    await stack.node(flaky=fails(9))
    record = await stack.finish(
        await stack.submit("""
name: tolerant
steps:
  - {name: flaky, type: command, command: "false", continue_on_error: true}
  - {name: after, type: command, command: "true", if: "steps.flaky.state == 'failed'"}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert [step.state.value for step in record.steps] == ["failed", "completed"]


async def test_outputs_reach_later_steps_and_only_those_that_name_them(stack: Stack) -> None:
    async def produce(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        return done({"version": "42"})

    node = await stack.node(make=produce)
    record = await stack.finish(
        await stack.submit("""
name: outputs
steps:
  - {name: make, type: command, command: "echo version=42 >> $GAMEPIPE_OUTPUT"}
  - {name: use, type: command, command: "echo ${{ steps.make.outputs.version }}"}
  - {name: other, type: command, command: "true"}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert node.assignments[1].scope.outputs == {"make": {"version": "42"}}
    assert node.assignments[2].scope.outputs == {}
    assert record.steps[0].outputs == {"version": "42"}


async def test_outputs_of_a_running_step_are_shown_and_go_with_its_attempt(stack: Stack) -> None:
    told, go_on, again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def make(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        if assignment.attempt == 2:
            await again.wait()
            return done({"b": "3"})
        await node.report(assignment, ReportKind.RUNNING)
        await node.report(assignment, ReportKind.PROGRESS, percent=40.0, outputs={"a": "1"})
        await node.report(assignment, ReportKind.PROGRESS, outputs={"b": "2"})
        await node.report(assignment, ReportKind.PROGRESS, outputs={"huge": "x" * 300_000})
        told.set()
        await go_on.wait()
        return failed()

    await stack.node(make=make)
    handle = await stack.submit("""
name: shown
steps:
  - {name: make, type: command, command: "true", retry: {max_attempts: 2, initial: 1}}
""")
    await told.wait()

    async def shown() -> bool:
        (step,) = (await stack.record(handle)).steps
        return (step.percent, step.outputs) == (40.0, {"a": "1", "b": "2"})

    async def gone() -> bool:
        (step,) = (await stack.record(handle)).steps
        return step.outputs == {} and step.reason == "EXIT_CODE"

    await eventually(shown)
    go_on.set()
    await eventually(gone)
    again.set()
    record = await stack.finish(handle)
    assert (record.state, record.steps[0].outputs) == (PipelineState.COMPLETED, {"b": "3"})


async def test_the_whole_pipeline_has_a_timeout(stack: Stack, states: States) -> None:
    node = await stack.node(endless=until_stopped)
    record = await stack.finish(
        await stack.submit("""
name: endless
timeouts: {pipeline: 5s}
steps:
  - {name: endless, type: command, command: "sleep 1000"}
  - {name: never, type: command, command: "true"}
  - {name: tidy, type: command, command: "true", always: true}
""")
    )
    assert record.state is PipelineState.FAILED
    assert record.reason == "PIPELINE_TIMEOUT"
    assert states(record) == {"endless": "failed", "never": "skipped", "tidy": "completed"}
    assert len(node.stops) == 1


async def test_a_fan_of_fifty_steps_completes(stack: Stack) -> None:
    steps = "\n".join(
        f"  - {{name: s{i}, type: command, command: 'true', needs: []}}" for i in range(50)
    )
    node = await stack.node()
    record = await stack.finish(await stack.submit(f"name: fan\nsteps:\n{steps}\n"))
    assert record.state is PipelineState.COMPLETED
    assert len(node.assignments) == 50


async def test_temporal_shows_a_failed_pipeline_as_failed(stack: Stack) -> None:
    await stack.node(one=fails(9))
    handle = await stack.submit(THREE)
    record = await stack.finish(handle)
    assert record.state is PipelineState.FAILED
    assert (await handle.describe()).status is WorkflowExecutionStatus.FAILED
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert (failure.value.cause.type, failure.value.cause.message) == (
        "STEP_FAILED",
        record.message,
    )


async def test_a_last_step_that_fails_and_is_tolerated_leaves_no_workspace(stack: Stack) -> None:
    node = await stack.node(three=fails(9))
    record = await stack.finish(
        await stack.submit("""
name: tolerant
steps:
  - {name: one, type: command, command: "true"}
  - {name: three, type: command, command: "false", continue_on_error: true}
""")
    )
    assert record.state is PipelineState.COMPLETED
    assert node.assignments[-1].clean_after
    assert len(node.cleaned) == 1
