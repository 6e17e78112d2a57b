"""Command steps that outlive an agent, and what a killed shim leaves."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.launch import Launch
from gamepipe.agent.process_runtime import RUN_AGAIN, ProcessRuntime
from gamepipe.agent.runtime import StepPlan, StopRequest
from gamepipe.model.record import AttemptKey
from tests.agent.making import Following, Lines, processes_of, shim_pid
from tests.waiting import eventually

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
MakePlan = Callable[..., StepPlan]


async def test_a_second_runtime_adopts_without_losing_or_doubling_a_line(
    folders: AgentFolders, plan_of: MakePlan, tmp_path: Path
):
    go = tmp_path / "go"
    plan = plan_of(
        f"i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; [ $i -ne 200 ] || "
        f"while [ ! -e {go} ]; do sleep 0.01; done; done"
    )
    lines = Lines()
    first = Following(ProcessRuntime(folders), plan, lines)
    await lines.until("150")
    await first.abandon()
    second = Following(ProcessRuntime(folders), plan, lines)
    await lines.until("200")
    await second.abandon()
    go.touch()
    third = Following(ProcessRuntime(folders), plan, lines)
    end = await third.end()
    assert end.exit_code == 0
    assert lines.texts() == [str(number) for number in range(1, 401)]
    assert first.started == third.started


async def test_an_end_that_came_while_nobody_watched_is_found(
    folders: AgentFolders, plan_of: MakePlan
):
    lines = Lines()
    plan = plan_of("echo up; sleep 0.2; echo down; exit 3")
    first = Following(ProcessRuntime(folders), plan, lines)
    await lines.until("up")
    await first.abandon()
    await eventually((plan.attempt_dir / "run-1" / "exit.json").exists)
    end = await Following(ProcessRuntime(folders), plan, lines).end()
    assert end.exit_code == 3
    assert lines.texts() == ["up", "down"]


async def test_what_a_killed_shim_left_is_killed_before_it_runs_again(
    runtime, plan_of: MakePlan, folders: AgentFolders
):
    lines = Lines()
    script = (
        "if mkdir once 2> /dev/null; then setsid sleep 1000 & sleep 1000 & echo up; sleep 1000; "
        "else echo again; fi"
    )
    plan = plan_of(script)
    following = Following(runtime, plan, lines)
    await lines.until("up")
    left = {process.pid for process in processes_of(folders)}
    assert len(left) >= 3
    os.kill(shim_pid(plan), signal.SIGKILL)
    end = await following.end()
    assert end.exit_code == 0
    assert lines.texts() == ["up", RUN_AGAIN, "again"]
    assert not left & {process.pid for process in processes_of(folders)}


async def test_a_killed_shim_is_noticed_by_the_next_agent_too(
    folders: AgentFolders, plan_of: MakePlan
):
    lines = Lines()
    plan = plan_of("if mkdir once 2> /dev/null; then echo up; sleep 1000; else echo again; fi")
    first = Following(ProcessRuntime(folders), plan, lines)
    await lines.until("up")
    await first.abandon()
    os.kill(shim_pid(plan), signal.SIGKILL)
    await eventually(lambda: not Launch(plan.attempt_dir / "run-1").is_alive())
    end = await Following(ProcessRuntime(folders), plan, lines).end()
    assert end.exit_code == 0
    assert lines.texts() == ["up", RUN_AGAIN, "again"]
    assert processes_of(folders) == []


async def test_kill_stops_what_nobody_follows(
    folders: AgentFolders, plan_of: MakePlan, runtime: ProcessRuntime
):
    lines = Lines()
    following = Following(runtime, plan_of("trap '' TERM; echo up; sleep 1000"), lines)
    await lines.until("up")
    await following.abandon()
    again = ProcessRuntime(folders)
    assert await again.kill(KEY, StopRequest.within(0.1))
    assert processes_of(folders) == []
    assert not await again.kill(KEY, StopRequest.within(0.1))


async def test_remove_kills_a_generation(
    folders: AgentFolders, plan_of: MakePlan, runtime: ProcessRuntime
):
    followings = []
    for index in range(3):
        lines = Lines()
        followings.append(
            Following(runtime, plan_of("echo up; sleep 1000", step_index=index), lines)
        )
        await lines.until("up")
        await followings[-1].abandon()
    await runtime.remove("p", 1, keep_services=True)
    assert processes_of(folders) == []
    await runtime.remove("p", 1, keep_services=True)
