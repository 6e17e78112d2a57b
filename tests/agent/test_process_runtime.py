"""Command steps as real processes under real shims."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gamepipe.agent.ending import explain
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.process_runtime import ProcessRuntime
from gamepipe.agent.runtime import StepPlan
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey, LogStream
from tests.agent.making import Following, Lines, make_plan, processes_of, shim_pid, utc_now
from tests.waiting import eventually

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
MakePlan = Callable[..., StepPlan]


async def test_streams_are_kept_apart_and_the_exit_code_comes_back(runtime, plan_of: MakePlan):
    lines = Lines()
    before = utc_now()
    following = Following(runtime, plan_of("echo out; echo err >&2; exit 7"), lines)
    end = await following.end()
    assert (end.exit_code, end.reason) == (7, "")
    assert lines.texts(LogStream.STDOUT) == ["out"]
    assert lines.texts(LogStream.STDERR) == ["err"]
    assert before <= following.started[0] == end.started_at <= end.ended_at <= utc_now()


async def test_the_first_failing_line_ends_the_script(runtime, plan_of: MakePlan):
    lines = Lines()
    end = await Following(runtime, plan_of("echo a\nfalse\necho b"), lines).end()
    assert end.exit_code == 1
    assert lines.texts() == ["a"]


async def test_it_runs_in_the_workspace_with_a_small_environment(
    runtime, plan_of: MakePlan, monkeypatch
):
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    lines = Lines()
    plan = plan_of("pwd; echo $HOME; echo $NAME; echo [$SECRET_OF_THE_AGENT]; command -v ls",
                   environment={"NAME": "käse"})  # fmt: skip
    await Following(runtime, plan, lines).end()
    workspace = str(plan.workspace)
    assert lines.texts()[:4] == [workspace, workspace, "käse", "[]"]
    assert lines.texts()[4].endswith("/ls")


async def test_the_script_is_written_to_no_disk(runtime, plan_of: MakePlan, folders: AgentFolders):
    lines = Lines()
    plan = plan_of("echo sesam | tr a-z A-Z; sleep 1000", environment={"TOKEN": "tresor"})
    following = Following(runtime, plan, lines)
    await lines.until("SESAM")
    files = [path for path in folders.root.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sesam" in path.read_bytes()]
    assert not [path for path in files if b"tresor" in path.read_bytes()]
    following.stop.set(grace_seconds=0.0, reason=reasons.CANCELED)
    await following.end()


async def test_a_tiny_step_is_fast(runtime, plan_of: MakePlan):
    took = []
    for index in range(5):
        began = time.perf_counter()
        end = await Following(runtime, plan_of("true", step_index=index), Lines()).end()
        took.append(time.perf_counter() - began)
        assert end.exit_code == 0
    assert min(took) < 0.08


async def test_long_lines_are_split_and_put_together_again(runtime, plan_of: MakePlan):
    lines = Lines()
    script = "head -c 1048576 /dev/zero | tr '\\0' x; printf '\\nend'"
    await Following(runtime, plan_of(script), lines).end()
    pieces = lines.lines[:-1]
    assert all(len(text) <= 65536 for _, text, _ in pieces)
    assert "".join(text for _, text, _ in pieces) == "x" * 1048576
    assert [more for _, _, more in pieces] == [True] * (len(pieces) - 1) + [False]
    assert lines.lines[-1] == (LogStream.STDOUT, "end", False)


async def test_invalid_utf8_is_replaced_and_ansi_is_kept(runtime, plan_of: MakePlan):
    lines = Lines()
    script = "printf 'a\\377b\\n'; printf '\\033[31mred\\033[0m\\n'; printf '\\303\\244\\n'"
    await Following(runtime, plan_of(script), lines).end()
    assert lines.texts() == ["a\ufffdb", "\x1b[31mred\x1b[0m", "ä"]


async def test_a_line_that_grows_by_replacement_stays_within_the_limit(runtime, plan_of: MakePlan):
    lines = Lines()
    script = "head -c 60000 /dev/zero | tr '\\0' '\\377'; echo"
    await Following(runtime, plan_of(script), lines).end()
    assert all(len(text.encode()) <= 65536 for text in lines.texts())
    assert "".join(lines.texts()) == "\ufffd" * 60000
    assert lines.lines[-1][2] is False


async def test_a_multibyte_character_is_not_cut_in_half(runtime, plan_of: MakePlan):
    lines = Lines()
    script = f"{sys.executable} -c \"print('x' + 'ä' * 100000)\""
    await Following(runtime, plan_of(script), lines).end()
    assert "".join(lines.texts()) == "x" + "ä" * 100000


async def test_background_processes_end_with_the_script(
    runtime, plan_of: MakePlan, folders: AgentFolders
):
    lines = Lines()
    end = await Following(runtime, plan_of("sleep 1000 & setsid sleep 1000 & echo ok"), lines).end()
    assert end.exit_code == 0
    assert lines.texts() == ["ok"]
    assert processes_of(folders) == []


async def test_term_lets_a_step_clean_up(runtime, plan_of: MakePlan):
    lines = Lines()
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    following = Following(runtime, plan_of(script), lines)
    await lines.until("up")
    following.stop.set(grace_seconds=20.0, reason=reasons.CANCELED, message="stopped by a test")
    end = await following.end()
    assert (end.reason, end.message) == (reasons.CANCELED, "stopped by a test")
    assert lines.texts(LogStream.STDOUT) == ["up", "bye"]


async def test_kill_follows_the_grace_and_reaches_the_whole_group(
    runtime, plan_of: MakePlan, folders: AgentFolders
):
    lines = Lines()
    script = "trap '' TERM; (trap '' TERM; sleep 1000) & echo up; sleep 1000; sleep 1000"
    following = Following(runtime, plan_of(script), lines)
    await lines.until("up")
    assert len(processes_of(folders)) >= 2
    following.stop.set(grace_seconds=0.3, reason=reasons.STEP_TIMEOUT)
    end = await following.end()
    assert end.reason == reasons.STEP_TIMEOUT
    assert end.exit_code == 128 + signal.SIGKILL
    assert processes_of(folders) == []


async def test_a_later_shorter_grace_counts(runtime, plan_of: MakePlan):
    lines = Lines()
    following = Following(runtime, plan_of("trap '' TERM; echo up; sleep 1000; sleep 1000"), lines)
    await lines.until("up")
    following.stop.set(grace_seconds=1000.0, reason=reasons.CANCELED)
    following.stop.set(grace_seconds=0.0, reason=reasons.CANCELED)
    assert (await following.end(10.0)).reason == reasons.CANCELED


async def test_a_chatty_step_waits_for_its_reader(
    runtime, plan_of: MakePlan, folders: AgentFolders
):
    lines = Lines()
    lines.open.clear()
    plan = plan_of("yes 0123456789012345678901234567890123456789012345678901234567890 | "
                   "head -c 39999982; touch done")  # fmt: skip
    following = Following(runtime, plan, lines)
    run = plan.attempt_dir / "run-1"

    def stored() -> int:
        return sum(path.stat().st_size for path in run.glob("out-*.seg"))

    await eventually(lambda: stored() >= 8 * 1024 * 1024, what="the shim fills what it may")
    shim = psutil.Process(shim_pid(plan))
    await eventually(lambda: shim.status() == psutil.STATUS_SLEEPING and _is_quiet(shim))
    assert stored() < 9 * 1024 * 1024
    assert shim.memory_info().rss < 40 * 1024 * 1024
    assert not (plan.workspace / "done").exists()
    lines.open.set()
    end = await following.end(60.0)
    assert end.exit_code == 0
    assert sum(len(text) + 1 for text in lines.texts()) == 39_999_982
    assert stored() < 3 * 1024 * 1024


def _is_quiet(process: psutil.Process) -> bool:
    """Whether it used no CPU between two looks."""
    first = process.cpu_times()
    time.sleep(0.05)
    return process.cpu_times() == first


async def test_a_stop_reaches_a_step_that_waits_for_its_reader(runtime, plan_of: MakePlan):
    lines = Lines()
    lines.open.clear()
    plan = plan_of("yes 0123456789")
    following = Following(runtime, plan, lines)
    run = plan.attempt_dir / "run-1"
    await eventually(lambda: len(list(run.glob("out-*.seg"))) >= 8)
    following.stop.set(grace_seconds=5.0, reason=reasons.CANCELED)
    await eventually((run / "exit.json").exists, what="the step is gone")
    lines.open.set()
    assert (await following.end()).reason == reasons.CANCELED


async def test_a_full_disk_ends_the_step_with_its_own_reason(small_disk: Path):
    folders = AgentFolders(small_disk)
    runtime = ProcessRuntime(folders)
    lines = Lines()
    lines.open.clear()
    plan = make_plan(folders, "yes 0123456789")
    following = Following(runtime, plan, lines)
    await eventually((plan.attempt_dir / "run-1" / "exit.json").exists)
    lines.open.set()
    end = await following.end()
    assert end.reason == reasons.DISK_FULL
    assert "free disk space" in end.message
    assert set(lines.texts()[:-1]) == {"0123456789"}
    assert processes_of(folders) == []


async def test_a_step_cannot_start_on_a_full_disk_and_says_so(small_disk: Path):
    folders = AgentFolders(small_disk)
    plan = make_plan(folders, "echo never")
    filler = await asyncio.create_subprocess_exec(
        "dd", "if=/dev/zero", f"of={small_disk}/filler", "bs=4k", stderr=asyncio.subprocess.PIPE
    )
    assert b"No space" in (await filler.communicate())[1]
    with pytest.raises(OSError, match="No space") as caught:
        await Following(ProcessRuntime(folders), plan, Lines()).end()
    assert explain(caught.value)[0] == reasons.DISK_FULL


async def test_a_nul_is_refused(runtime, plan_of: MakePlan):
    end = await Following(runtime, plan_of("echo a\0b"), Lines()).end()
    assert (end.reason, end.retryable) == (reasons.RUNNER_ERROR, False)


async def test_a_missing_workspace_is_told(runtime, plan_of: MakePlan):
    lines = Lines()
    plan = plan_of("echo never")
    plan.workspace.rmdir()
    end = await Following(runtime, plan, lines).end()
    assert end.exit_code == 126
    assert "could not start" in lines.texts()[0]


async def test_many_steps_run_at_the_same_time(runtime, plan_of: MakePlan):
    sinks = [Lines() for _ in range(20)]
    followings = [
        Following(runtime, plan_of(f"echo {index}", step_index=index), sink)
        for index, sink in enumerate(sinks)
    ]
    ends = await asyncio.gather(*(following.end(60.0) for following in followings))
    assert [end.exit_code for end in ends] == [0] * 20
    assert [sink.texts() for sink in sinks] == [[str(index)] for index in range(20)]


async def test_a_stop_does_not_wait_for_the_lines_that_are_still_to_be_taken(
    runtime, plan_of: MakePlan, folders: AgentFolders
):
    lines = Lines()
    following = Following(
        runtime, plan_of(f"echo up; while true; do echo {'x' * 4000}; done"), lines
    )
    await lines.until("up")
    lines.open.clear()
    following.stop.set(grace_seconds=5.0, reason=reasons.CANCELED)
    await asyncio.wait_for(following.stop.wait_gone(), 20)
    assert processes_of(folders) == []
    assert not following.task.done()
    lines.open.set()
    assert (await following.end()).reason == reasons.CANCELED
