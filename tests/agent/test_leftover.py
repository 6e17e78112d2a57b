"""What an agent that died left behind: ended once, its lines kept, its end remembered."""

import asyncio
from dataclasses import replace
from pathlib import Path

from gamepipe.agent.late_sink import LEFT_OUT
from gamepipe.agent.values import Values, ValuesRefused, ValuesUnauthenticated
from gamepipe.model import reason as reasons
from gamepipe.model.state import StepState
from gamepipe.wire import CleanWorkspace, Scope, StepAssignment
from tests.agent.making import assignment, processes_of
from tests.agent.node import Node, stop_of
from tests.waiting import eventually

DEAF = "trap '' TERM; echo up; while true; do sleep 1000; done"
SECRET = "sesame-open"


async def leave_behind(node: Node, folder: Path, last_line: str, **fields) -> StepAssignment:
    """A step that writes its last line while no agent follows it, and goes on."""
    go, done = folder / "go", folder / "done"
    wait = f"while [ ! -e {go} ]; do sleep 0.01; done"
    step = assignment(f"echo one; {wait}; {last_line}; touch {done}; sleep 1000", **fields)
    node.run(step)
    await node.until_line("one")
    await node.close()
    go.touch()
    await eventually(done.exists)
    node.start()
    return step


async def die_over_its_stop(node: Node) -> None:
    """A stop came, and the agent dies before the step has obeyed."""
    stop = node.runner.stop(stop_of(grace_seconds=1000.0), run_id="r")
    stopping = asyncio.create_task(stop)
    await eventually(lambda: list(node.folders.journal.rglob("stop-a1")))
    await node.restart()
    await asyncio.gather(stopping, return_exceptions=True)


async def test_what_it_wrote_unfollowed_is_kept_when_it_is_stopped(node: Node, tmp_path: Path):
    await leave_behind(node, tmp_path, "echo two")
    assert (await node.runner.stop(stop_of(), run_id="r")).was_running
    await node.until_line("two")
    assert node.texts() == ["one", "two"]
    assert processes_of(node.folders) == []


async def test_what_it_wrote_unfollowed_is_masked(node: Node, tmp_path: Path):
    node.values.values = Values(envs={"A": SECRET})
    scope = Scope(env_names=("A",))
    await leave_behind(node, tmp_path, "echo it is ${{ envs.A }}", scope=scope)
    await node.runner.stop(stop_of(), run_id="r")
    await node.until_line("it is ***")


async def test_lines_that_cannot_be_masked_are_left_out(node: Node, tmp_path: Path):
    node.values.values = Values(envs={"A": SECRET})
    scope = Scope(env_names=("A",))
    await leave_behind(node, tmp_path, "echo it is ${{ envs.A }}", scope=scope)
    node.values.errors = [ValuesRefused("not yours any more")]
    await node.runner.stop(stop_of(), run_id="r")
    await eventually(lambda: node.journal.unfinished() == ())
    assert node.texts() == ["one", LEFT_OUT]


async def test_its_end_is_remembered(node: Node, tmp_path: Path):
    step = await leave_behind(node, tmp_path, "true")
    await node.runner.stop(stop_of(), run_id="r")
    result = await node.run(replace(step, dispatch=2))
    assert (result.state, result.reason) == (StepState.FAILED, reasons.CANCELED)
    assert node.journal.unfinished() == ()
    await node.restart()
    assert node.journal.unfinished() == ()
    assert await node.run(replace(step, dispatch=3)) == result


async def test_cleaning_leaves_nothing_unfinished(node: Node, tmp_path: Path):
    await leave_behind(node, tmp_path, "echo two")
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    assert node.journal.unfinished() == ()
    assert processes_of(node.folders) == []


async def test_a_step_whose_agent_died_over_its_stop_is_ended_before_that_is_answered(node: Node):
    step = assignment(DEAF)
    node.run(step)
    await node.until_line("up")
    node.tasks.append(
        asyncio.create_task(node.runner.stop(stop_of(grace_seconds=1000.0), run_id="r"))
    )
    await eventually(lambda: list(node.folders.journal.rglob("stop-a1")))
    await node.restart()
    assert processes_of(node.folders) != []
    result = await node.run(replace(step, dispatch=2, grace_seconds=0.1))
    assert result.reason == reasons.CANCELED
    assert processes_of(node.folders) == []


async def test_an_agent_finishes_the_stop_that_its_predecessor_died_over(node: Node):
    node.run(assignment(DEAF, grace_seconds=0.1))
    await node.until_line("up")
    node.tasks.append(
        asyncio.create_task(node.runner.stop(stop_of(grace_seconds=1000.0), run_id="r"))
    )
    await eventually(lambda: list(node.folders.journal.rglob("stop-a1")))
    await node.restart()
    await node.runner.recover()
    await eventually(lambda: node.journal.unfinished() == ())
    assert processes_of(node.folders) == []


async def test_a_later_stop_shortens_the_grace(node: Node):
    node.run(assignment(DEAF))
    await node.until_line("up")
    await node.restart()
    slow = asyncio.create_task(node.runner.stop(stop_of(grace_seconds=1000.0), run_id="r"))
    await eventually(lambda: list(node.folders.journal.rglob("stop-a1")))
    quick = await node.runner.stop(stop_of(grace_seconds=0.0), run_id="r")
    assert quick.was_running
    assert (await asyncio.wait_for(slow, 20)).was_running


async def test_a_cut_off_node_stops_what_an_earlier_agent_left(node: Node):
    moved = assignment("echo up; sleep 1000", stop_when_cut_off=True)
    node.run(moved)
    stays = assignment("echo up; sleep 1000", step_index=1)
    node.run(stays)
    await node.until_line("up", 0)
    await node.until_line("up", 1)
    await node.restart()
    await node.runner.stop_cut_off()
    assert [key.step_index for key, _ in node.journal.unfinished()] == [1]
    assert (await node.run(replace(moved, dispatch=2))).reason == reasons.NODE_LOST
    await node.runner.stop(stop_of(1), run_id="r")


async def test_a_token_that_is_being_changed_ends_no_step(node: Node):
    node.values.values = Values(envs={"A": "value"})
    node.values.errors = [ValuesUnauthenticated("who are you?") for _ in range(3)]
    step = assignment("echo ${{ envs.A }}", scope=Scope(env_names=("A",)))
    assert (await node.run(step)).state is StepState.COMPLETED


async def test_a_token_that_stays_unknown_ends_only_what_has_not_begun(tmp_path: Path):
    node = Node(tmp_path / "agent", token_seconds=0.0)
    node.values.values = Values(envs={"A": "value"})
    go = tmp_path / "go"
    script = f"echo ${{{{ envs.A }}}}; while [ ! -e {go} ]; do sleep 0.01; done"
    step = assignment(script, scope=Scope(env_names=("A",)))
    node.run(step)
    await node.until_line("***")
    await node.restart()
    node.values.errors = [ValuesUnauthenticated("who are you?") for _ in range(5)]
    adopted = node.run(replace(step, dispatch=2))
    await eventually(lambda: not node.values.errors)
    go.touch()
    assert (await adopted).state is StepState.COMPLETED
    node.values.errors = [ValuesUnauthenticated("who are you?") for _ in range(100_000)]
    refused = await node.run(replace(step, attempt=2))
    assert refused.reason == reasons.RUNNER_ERROR
    assert "who are you?" in refused.message
    await node.close()
