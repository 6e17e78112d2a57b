"""Stopping, adopting and removing what runs on a node, with real processes."""

from dataclasses import replace
from pathlib import Path

from gamepipe.agent.values import Values, ValuesUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.state import StepState
from gamepipe.wire import (
    CleanWorkspace,
    ReportKind,
    Scope,
)
from tests.agent.making import assignment, processes_of
from tests.agent.node import Node, stop_of
from tests.waiting import eventually


async def test_a_stop_that_comes_first_refuses_the_run(node: Node):
    answer = await node.runner.stop(stop_of(), run_id="r")
    assert not answer.was_running
    result = await node.run(assignment("touch $GAMEPIPE_WORKSPACE/ran"))
    assert (result.state, result.reason) == (StepState.FAILED, reasons.STOPPED_BEFORE_START)
    assert not list(node.folders.root.rglob("ran"))
    assert (await node.run(assignment("true", attempt=2))).state is StepState.COMPLETED


async def test_an_early_stop_is_remembered_by_the_next_agent(node: Node):
    await node.runner.stop(stop_of(attempt=None), run_id="r")
    await node.restart()
    result = await node.run(assignment("true", attempt=3))
    assert result.reason == reasons.STOPPED_BEFORE_START


async def test_an_early_stop_of_another_run_means_nothing(node: Node):
    await node.runner.stop(stop_of(), run_id="other")
    assert (await node.run(assignment("true"))).state is StepState.COMPLETED


async def test_a_stop_ends_what_runs(node: Node):
    running = node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    assert (await node.runner.stop(stop_of(), run_id="r")).was_running
    result = await running
    assert (result.state, result.reason) == (StepState.FAILED, reasons.CANCELED)


async def test_the_next_agent_adopts(node: Node, tmp_path: Path):
    go = tmp_path / "go"
    step = assignment(f"echo one; while [ ! -e {go} ]; do sleep 0.01; done; echo two")
    node.run(step)
    await node.until_line("one")
    await eventually(lambda: node.reports)
    await node.restart()
    adopted = node.run(replace(step, dispatch=2))
    go.touch()
    result = await adopted
    assert result.state is StepState.COMPLETED
    assert node.texts() == ["one", "two"]
    starts = {report.at for report in node.reports if report.kind is ReportKind.RUNNING}
    assert starts == {result.started_at}


async def test_the_next_agent_stops_what_nobody_follows(node: Node):
    node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    await node.restart()
    assert (await node.runner.stop(stop_of(), run_id="r")).was_running
    assert not (await node.runner.stop(stop_of(), run_id="r")).was_running


async def test_a_stop_reaches_what_an_agent_is_about_to_adopt(node: Node):
    node.values.values = Values(envs={"A": "value"})
    step = assignment("echo ${{ envs.A }}; sleep 1000", scope=Scope(env_names=("A",)))
    node.run(step)
    await node.until_line("***")
    await node.restart()
    node.values.errors = [ValuesUnavailable("not now") for _ in range(100_000)]
    adopted = node.run(step)
    await eventually(lambda: len(node.values.errors) < 100_000, what="it asks for the values")
    assert (await node.runner.stop(stop_of(), run_id="r")).was_running
    assert (await adopted).state is StepState.FAILED
    assert processes_of(node.folders) == []


async def test_a_node_that_may_run_no_commands_any_more_ends_what_it_adopts(tmp_path: Path):
    node = Node(tmp_path / "agent")
    node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    await node.close()
    strict = Node(tmp_path / "agent", allow_commands=False)
    result = await strict.run(assignment("echo up; sleep 1000"))
    assert result.reason == reasons.COMMANDS_NOT_ALLOWED
    assert processes_of(strict.folders) == []
    await strict.close()


async def test_the_end_is_told_again_without_running_again(node: Node):
    step = assignment("echo x >> $GAMEPIPE_WORKSPACE/count")
    first = await node.run(step)
    await node.restart()
    assert await node.run(replace(step, dispatch=2)) == first
    counts = list(node.folders.root.rglob("count"))
    assert [path.read_text() for path in counts] == ["x\n"]


async def test_the_same_dispatch_twice_follows_one_process(node: Node):
    step = assignment("echo x >> $GAMEPIPE_WORKSPACE/count; echo up; sleep 0.3")
    first = node.run(step)
    await node.until_line("up")
    second = node.run(replace(step, dispatch=2))
    assert await first == await second
    assert next(node.folders.root.rglob("count")).read_text() == "x\n"


async def test_a_newer_attempt_ends_the_older_one(node: Node):
    first = node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    result = await node.run(assignment("true", attempt=2))
    assert result.state is StepState.COMPLETED
    assert (await first).state is StepState.FAILED


async def test_what_another_workflow_run_left_is_killed_and_forgotten(node: Node):
    first = node.run(assignment("echo up; sleep 1000"), run_id="old")
    await node.until_line("up")
    result = await node.run(assignment("echo new"), run_id="new")
    assert result.state is StepState.COMPLETED
    assert (await first).state is StepState.FAILED


async def test_cleaning_removes_what_a_generation_left(node: Node):
    running = node.run(assignment("echo up; touch file; sleep 1000"))
    await node.until_line("up")
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    assert (await running).state is StepState.FAILED
    assert not (node.folders.workspaces / "p").exists()
    assert not (node.folders.attempts / "p").exists()
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))


async def test_the_last_step_cleans_up_itself(node: Node):
    step = assignment("touch file", clean_after=True)
    result = await node.run(step)
    assert result.state is StepState.COMPLETED
    assert not (node.folders.workspaces / "p").exists()
    assert await node.run(replace(step, dispatch=2)) == result


async def test_a_cut_off_node_stops_what_runs_elsewhere(node: Node):
    moved = node.run(assignment("echo up; sleep 1000", stop_when_cut_off=True))
    stays = node.run(assignment("echo up; sleep 1000", step_index=1))
    await node.until_line("up", 0)
    await node.until_line("up", 1)
    await node.runner.stop_cut_off()
    assert (await moved).reason == reasons.NODE_LOST
    assert not stays.done()


async def test_a_stored_stop_order_ends_a_generation_after_a_restart(node: Node):
    node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    await node.restart()
    await node.runner.stop_generation("p", 1, None, grace_seconds=1.0)
    assert not (node.folders.workspaces / "p").exists()
    assert node.runner.running_steps == 0


async def test_a_clean_up_that_was_missed_is_made_up_for(node: Node):
    step = assignment("touch file", clean_after=True)
    await node.run(step)
    left = node.folders.workspace("p", 1)
    left.mkdir(parents=True)
    await node.restart()
    await node.runner.recover()
    assert not left.exists()


async def test_a_pipeline_made_anew_keeps_its_workspace(node: Node):
    await node.run(assignment("true", step_index=1, clean_after=True), run_id="old")
    node.run(assignment("echo up; sleep 1000"), run_id="new")
    await node.until_line("up")
    await node.runner.recover()
    await node.restart()
    await node.runner.recover()
    assert node.folders.workspace("p", 1).exists()
