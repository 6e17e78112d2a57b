"""Commands about pipelines, run against a whole stack: what they print, and how they end."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.terminal import Session
from tests.e2e.stack import RunningStack

NAME = "mark [/up] test :smile:"
MARKED = f"""
name: "{NAME}"
labels: {{game: chess}}
steps:
  - {{name: "one [/b]", type: command, command: "echo '[/x] first'"}}
  - {{name: two, type: command, command: "echo second; exit 3"}}
"""
GREETING = """
name: greeting
args: [WHO]
steps: [{type: command, command: "echo hello ${{ args.WHO }}"}]
"""
LASTING = """
name: lasting
timeouts: {{pipeline: 5m}}
steps: [{{name: stay, type: command, command: "echo here; cat {gate}"}}]
"""
NEVER = """
name: never
placement: {match: [{key: board-of-the-game, op: in, values: [a-long-value, another-one]}]}
steps: [{type: command, command: "true"}]
"""
REASON = "does not match board-of-the-game in a-long-value, another-one"


@pytest.fixture(scope="module")
def marked(shared_stack: RunningStack) -> str:
    """A pipeline that failed, and whose names look like markup."""
    pipeline_id = shared_stack.submit(MARKED, id="marked")
    assert shared_stack.finish(pipeline_id)["state"] == "failed"
    return pipeline_id


def watching(stack: RunningStack, *arguments: str, terminal: bool) -> Session:
    environment = stack.environment | {"GAMEPIPE_URL": stack.info["url"]}
    return Session(*arguments, terminal=terminal, environment=environment)


def write(folder: Path, text: str) -> str:
    (folder / "pipeline.yaml").write_text(text)
    return str(folder / "pipeline.yaml")


# --- submit and watch ----------------------------------------------------------------------------


def test_a_completed_pipeline_ends_submit_with_0(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    file = write(tmp_path, GREETING)
    done = shared_stack.run("submit", file, "--arg", "WHO=ada", "--watch", "--id", "greeted")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "step-1 │ hello ada" in lines
    assert any(line.startswith("[1/1] step-1: completed (") for line in lines)
    assert lines[-1].startswith("greeted: completed (")


def test_submit_reads_standard_input_and_says_how_to_follow(shared_stack: RunningStack) -> None:
    done = shared_stack.run("submit", "-", "--arg", "WHO=bob", "--id", "piped", input=GREETING)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "  gamepipe watch piped"
    watched = shared_stack.run("watch", "piped", "-o", "json")
    assert (watched.returncode, json.loads(watched.stdout)["state"]) == (0, "completed")


def test_a_failed_pipeline_ends_watch_with_1(shared_stack: RunningStack, marked: str) -> None:
    done = shared_stack.run("watch", marked)
    assert (done.returncode, done.stderr) == (1, "")
    assert "[2/2] two: failed" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("STEP_FAILED: step 'two' failed: exit code 3")


def test_what_args_are_missing_or_unknown_is_told_with_the_flag(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    done = shared_stack.run("submit", write(tmp_path, GREETING), "--arg", "WH=ada")
    assert (done.returncode, done.stdout) == (2, "")
    assert "args.WH: the pipeline has no such arg; did you mean `WHO`?" in done.stderr
    assert "args.WHO: has no value; give it one with `--arg WHO=VALUE`" in done.stderr


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_a_pipeline_that_waits_says_why_and_goes_on_after_ctrl_c(
    shared_stack: RunningStack, tmp_path: Path, terminal: bool
) -> None:
    pipeline_id = f"never-{terminal}".lower()
    arguments = ("submit", write(tmp_path, NEVER), "--watch", "--id", pipeline_id)
    with watching(shared_stack, *arguments, terminal=terminal) as watch:
        watch.wait_for("another-one")
        watch.interrupt()
        assert watch.end(seconds=10) == 130, watch.output
    said = " ".join(watch.output.split())
    assert "NO_CAPACITY: " in said
    assert REASON in said
    assert "Traceback" not in said
    assert f"{pipeline_id} goes on: see `gamepipe watch {pipeline_id}`" in said
    assert f"`gamepipe cancel {pipeline_id}`" in said
    assert shared_stack.get(pipeline_id)["state"] == "pending"
    assert shared_stack.run("delete", pipeline_id, "--force").returncode == 0


def test_cancel_ends_a_watch_with_1_and_delete_wants_force_before(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pipeline_id = shared_stack.submit(LASTING.format(gate=gate), id="lasting")
    with (
        watching(shared_stack, "watch", pipeline_id, terminal=False) as watch,
        watching(shared_stack, "logs", "-f", pipeline_id, terminal=False) as logs,
    ):
        watch.wait_for("stay │ here")
        logs.wait_for("here")
        refused = shared_stack.run("delete", pipeline_id)
        assert refused.returncode == 1
        assert "force" in refused.stderr
        asked = shared_stack.run("cancel", pipeline_id, "--reason", "wrong map", "-o", "json")
        assert json.loads(asked.stdout)["id"] == pipeline_id
        assert (watch.end(), logs.end()) == (1, 0)
    assert watch.output.splitlines()[-1].startswith("lasting: canceled (")
    assert "wrong map" in watch.output
    assert logs.output == "here\n"
    gone = shared_stack.run("delete", pipeline_id, "-o", "json")
    assert json.loads(gone.stdout) == {"id": pipeline_id, "deleted": True}
    missing = shared_stack.run("get", pipeline_id)
    assert (missing.returncode, missing.stderr) == (
        1,
        f"gamepipe: no pipeline '{pipeline_id}' [NOT_FOUND]\n",
    )


def test_a_gateway_that_goes_away_is_told_and_waited_for(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pipeline_id = shared_stack.submit(LASTING.format(gate=gate), id="outlasting")
    with watching(shared_stack, "watch", pipeline_id, terminal=False) as watch:
        watch.wait_for("stay │ here")
        shared_stack.kill("gateway")
        watch.wait_for(f"no gateway answers at {shared_stack.info['url']}; waiting for it")
        gate.write_text("")
        assert watch.end() == 0, watch.output
    assert watch.output.count("stay │ here") == 1
    assert watch.output.splitlines()[-1].startswith("outlasting: completed (")


# --- get, list, logs -----------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("command", ["get", "watch", "logs"])
def test_names_that_look_like_markup_are_shown_as_they_are(
    shared_stack: RunningStack, marked: str, command: str, terminal: bool
) -> None:
    with watching(shared_stack, command, marked, terminal=terminal) as shown:
        assert shown.end() == (1 if command == "watch" else 0), shown.output
    assert "one [/b]" in shown.output
    if command == "get":
        assert f"name      {NAME}\n" in shown.output
    else:
        assert "one [/b] │ [/x] first" in shown.output


def test_lines_stand_behind_their_step_unless_one_is_asked_for(
    shared_stack: RunningStack, marked: str
) -> None:
    several = shared_stack.run("logs", marked)
    assert several.stdout == "one [/b] │ [/x] first\ntwo      │ second\n"
    assert shared_stack.run("logs", marked, "--no-prefix").stdout == "[/x] first\nsecond\n"
    assert shared_stack.run("logs", marked, "--step", "two").stdout == "second\n"
    parsed = shared_stack.run("logs", marked, "-o", "json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in parsed] == ["[/x] first", "second"]


def test_a_list_can_be_narrowed(shared_stack: RunningStack, marked: str) -> None:
    def ids(*flags: str) -> list[str]:
        done = shared_stack.run("list", "-o", "json", *flags)
        assert done.returncode == 0, done.stderr
        return [one["id"] for one in json.loads(done.stdout)["items"]]

    assert ids("--label", "game=chess", "--state", "failed", "--node", "local") == [marked]
    assert ids("--label", "game=chess", "--state", "completed") == []
    assert ids("--label", "game=go") == []
    assert len(ids("--size", "1")) == 1
    wrong = shared_stack.run("list", "--state", "lost")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "completed" in wrong.stderr


def test_tables_in_a_narrow_pipe_have_a_line_for_each_row(
    shared_stack: RunningStack, marked: str
) -> None:
    with watching(shared_stack, "list", "--label", "game=chess", terminal=False) as listed:
        assert listed.end() == 0
    head, row = listed.output.splitlines()
    assert head.split() == ["ID", "STATE", "STEPS", "NODE", "TOOK", "CREATED", "WHY"]
    assert row.startswith(f"{marked}  failed  2/2 100%  local  ")
    assert row.endswith("STEP_FAILED: step 'two' failed: exit code 3")
    assert row.index("STEP_FAILED") == head.index("WHY")


def test_no_row_ends_with_blanks(shared_stack: RunningStack, marked: str) -> None:
    for arguments in (("get", marked), ("nodes",), ("instances",)):
        lines = shared_stack.run(*arguments).stdout.splitlines()
        assert [line for line in lines if line != line.rstrip()] == []


# --- the fleet -----------------------------------------------------------------------------------


def test_nodes_are_listed_and_set(shared_stack: RunningStack) -> None:
    (node,) = (
        one
        for one in json.loads(shared_stack.run("nodes", "-o", "json").stdout)
        if one["id"] == "local"
    )
    assert (node["state"], node["connectivity"]) == ("normal", "online")
    set_up = shared_stack.run("node", "local", "--state", "maintenance")
    assert (set_up.returncode, set_up.stdout) == (0, "local is maintenance\n")
    back = shared_stack.run("node", "local", "--state", "normal", "-o", "json")
    assert json.loads(back.stdout)["state"] == "normal"
    unknown = shared_stack.run("node", "nowhere", "--state", "normal")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no node 'nowhere'" in unknown.stderr
    wrong = shared_stack.run("node", "local", "--state", "lazy")
    assert wrong.returncode == 2
    assert "maintenance" in wrong.stderr


def test_instances_are_listed_and_an_unknown_one_cannot_be_stopped(
    shared_stack: RunningStack,
) -> None:
    assert isinstance(json.loads(shared_stack.run("instances", "-o", "json").stdout), list)
    unknown = shared_stack.run("stop", "nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no instance 'nothing'" in unknown.stderr
