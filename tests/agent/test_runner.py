"""The step runner with real processes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.journal import AttemptJournal
from gamepipe.agent.plan import RunnerSettings, RunnerTools
from gamepipe.agent.process_runtime import ProcessRuntime
from gamepipe.agent.reporter import ReportRules
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.runtime import AttemptKey
from gamepipe.agent.slot import StepSlots
from gamepipe.agent.spool import SpoolFolder
from gamepipe.agent.values import Values, ValuesRefused, ValuesUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.spec import StepType
from gamepipe.model.state import StepState
from gamepipe.wire import (
    CleanWorkspace,
    InstanceEnd,
    ReportKind,
    Scope,
    StepAssignment,
    StepReport,
    StepResult,
    StopStep,
)
from tests.agent.making import assignment, processes_of, utc_now
from tests.waiting import eventually


class FixedValues:
    """Envs and secrets of every step."""

    def __init__(self) -> None:
        self.values = Values()
        self.errors: list[Exception] = []

    async def fetch(self, key: AttemptKey) -> Values:
        if self.errors:
            raise self.errors.pop()
        return self.values


class Node:
    """A runner and what it keeps; `restart` is what a new agent process would do."""

    def __init__(self, root: Path, *, max_steps: int = 32, allow_commands: bool = True) -> None:
        self.folders = AgentFolders(root)
        self.values = FixedValues()
        self.reports: list[StepReport] = []
        self._settings = RunnerSettings(
            node_id="node-1",
            allow_commands=allow_commands,
            max_steps=max_steps,
            progress_poll=0.01,
            fetch_retry=0.01,
            reports=ReportRules(hold_running=0.0, first_interval=0.01),
        )
        self.tasks: list[asyncio.Task[StepResult]] = []
        self.start()

    def start(self) -> None:
        settings = self._settings
        self.spools = SpoolFolder(self.folders.spool)
        self.slots = StepSlots(settings.max_steps)
        self.journal = AttemptJournal(self.folders.journal)
        tools = RunnerTools(
            settings=settings,
            folders=self.folders,
            runtimes={StepType.COMMAND: ProcessRuntime(self.folders)},
            values=self.values,
            spools=self.spools,
            slots=self.slots,
            clock=utc_now,
        )
        self.runner = StepRunner(tools, self.journal, stop_instance=self._stop_instance)

    async def restart(self) -> None:
        await self.close()
        self.start()

    async def close(self) -> None:
        await self.runner.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def run(self, step: StepAssignment, *, run_id: str = "r") -> "asyncio.Task[StepResult]":
        self.tasks.append(
            asyncio.create_task(self.runner.run(step, report=self._report, run_id=run_id))
        )
        return self.tasks[-1]

    def texts(self, step_index: int = 0, attempt: int = 1) -> list[str]:
        key = AttemptKey(pipeline_id="p", generation=1, step_index=step_index, attempt=attempt)
        lines = self.spools.open(key).read(1, max_bytes=1_000_000)
        return [line.text for line in lines]

    async def until_line(self, text: str, step_index: int = 0, attempt: int = 1) -> None:
        await eventually(lambda: text in self.texts(step_index, attempt), what=text)

    async def _report(self, report: StepReport) -> None:
        self.reports.append(report)

    @staticmethod
    async def _stop_instance(order) -> InstanceEnd:
        return InstanceEnd()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "agent")
    yield node
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    await node.close()


def stop_of(step_index: int = 0, attempt: int | None = 1, grace_seconds: float = 5.0) -> StopStep:
    return StopStep(
        pipeline_id="p",
        generation=1,
        step_index=step_index,
        attempt=attempt,
        grace_seconds=grace_seconds,
    )


async def test_outputs_and_lines_are_in_the_result(node: Node):
    script = "echo line; echo KEY=first >> $GAMEPIPE_OUTPUT; echo KEY=a=b >> $GAMEPIPE_OUTPUT"
    result = await node.run(assignment(script))
    assert result.state is StepState.COMPLETED
    assert result.outputs == {"KEY": "a=b"}
    assert result.log_lines == 1
    assert node.texts() == ["line"]


async def test_a_failure_is_a_result(node: Node):
    result = await node.run(assignment("exit 9"))
    assert (result.state, result.reason, result.exit_code) == (
        StepState.FAILED,
        reasons.EXIT_CODE,
        9,
    )
    assert result.retryable


async def test_commands_need_permission(tmp_path: Path):
    node = Node(tmp_path / "agent", allow_commands=False)
    result = await node.run(assignment("touch should-not-be"))
    assert (result.reason, result.retryable) == (reasons.COMMANDS_NOT_ALLOWED, False)
    assert "--allow-commands" in result.message
    assert not list(node.folders.root.rglob("should-not-be"))


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


async def test_the_timeout_counts_from_the_start(node: Node):
    result = await node.run(assignment("echo up; sleep 1000", timeout_seconds=0.3))
    assert (result.reason, result.retryable) == (reasons.STEP_TIMEOUT, True)
    assert "0.3 s" in result.message


async def test_the_timeout_goes_on_across_agents(node: Node):
    step = assignment("echo up; sleep 1000", timeout_seconds=1.0)
    node.run(step)
    await node.until_line("up")
    begun_at = dict(node.journal.unfinished())[
        AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
    ].begun_at
    await node.restart()
    result = await node.run(step)
    assert result.reason == reasons.STEP_TIMEOUT
    assert (result.ended_at - begun_at).total_seconds() < 3.0


async def test_values_reach_the_step_and_nothing_else(node: Node):
    node.values.values = Values(envs={"PASSWORD": "sesam-open"}, secrets={"KEY": "s3cr3t!"})
    node.values.errors = [ValuesUnavailable("not now")]
    step = assignment("echo ${{ envs.PASSWORD }}; echo k=${{ secrets.KEY }} >> $GAMEPIPE_OUTPUT")
    scope = Scope(env_names=("PASSWORD",), secret_names=("KEY",))
    result = await node.run(replace(step, scope=scope))
    assert result.state is StepState.COMPLETED
    assert node.texts() == ["***"]
    assert result.outputs == {"k": "***"}
    files = [path for path in node.folders.root.rglob("*") if path.is_file()]
    marked = [path for path in files if b"sesam-open" in path.read_bytes()]
    assert [path for path in marked if not path.name.startswith("out-")] == []


async def test_refused_values_end_the_step(node: Node):
    node.values.errors = [ValuesRefused("not yours")]
    step = assignment("echo ${{ envs.A }}", scope=Scope(env_names=("A",)))
    result = await node.run(step)
    assert (result.reason, result.retryable) == (reasons.RUNNER_ERROR, False)


async def test_progress_is_thinned(node: Node):
    script = (
        "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); "
        'echo "GAMEPIPE_PROGRESS=$((i/10)) item $i" >> $GAMEPIPE_OUTPUT; done; sleep 0.2'
    )
    result = await node.run(assignment(script))
    assert result.state is StepState.COMPLETED
    progress = [report for report in node.reports if report.kind is ReportKind.PROGRESS]
    assert 1 <= len(progress) <= 40
    assert progress[-1].percent == 100.0


async def test_a_bad_output_fails_the_step(node: Node):
    result = await node.run(assignment("echo 'no pair' >> $GAMEPIPE_OUTPUT"))
    assert (result.state, result.reason) == (StepState.FAILED, reasons.OUTPUT_INVALID)
    assert "line 1" in result.message


async def test_steps_beyond_the_limit_wait_their_turn(tmp_path: Path):
    node = Node(tmp_path / "agent", max_steps=2)
    go = tmp_path / "go"
    script = f"echo up; while [ ! -e {go} ]; do sleep 0.01; done"
    running = [node.run(assignment(script, step_index=index)) for index in range(4)]
    await node.until_line("up", 0)
    await node.until_line("up", 1)
    assert node.slots.used == 2
    assert node.texts(2) == node.texts(3) == []
    go.touch()
    results = await asyncio.gather(*running)
    assert {result.state for result in results} == {StepState.COMPLETED}
    assert node.slots.used == 0
    await node.close()


async def test_a_loaded_runner_stops_one_step_within_a_second(tmp_path: Path):
    node = Node(tmp_path / "agent", max_steps=8)
    steps = [assignment("echo up; sleep 1000", step_index=index) for index in range(108)]
    tasks = [node.run(step) for step in steps]
    for index in range(8):
        await node.until_line("up", index)
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(node.runner.stop(stop_of(3), run_id="r"), 20)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert (await tasks[3]).reason == reasons.CANCELED
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(node.runner.stop(stop_of(100), run_id="r"), 20)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert (await tasks[100]).reason == reasons.STOPPED_BEFORE_START
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    await asyncio.gather(*tasks)
    await node.close()


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
