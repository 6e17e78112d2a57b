"""What engineers do with Temporal's own tools: the store tells the truth, nothing stays behind."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from gamepipe.agent.spool import RUNS_ANEW
from gamepipe.embedded.temporal import find_binary
from tests.e2e.stack import RunningStack, wait_for

CLOSED = "WORKFLOW_EXECUTION_STATUS_COMPLETED"
FILE = """
name: in-the-ui
steps:
  - {{name: one, type: command, command: echo ran >> {ledger}/one}}
  - name: two
    type: command
    command: |
      echo $$ >> {ledger}/two
      echo waiting in $$
      cat {ledger}/gate
  - {{name: three, type: command, command: echo ran >> {ledger}/three}}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def temporal(stack: RunningStack, *command: str) -> str:
    """One command of Temporal's own CLI, as its Web UI's buttons would send it; its output."""
    reason = [] if "describe" in command else ["--reason", "by hand"]
    done = subprocess.run(
        [find_binary(), *command, "--address", stack.info["temporal_address"], *reason],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(stack: RunningStack, *workflow: str) -> str:
    """Of the newest run."""
    described = json.loads(temporal(stack, "workflow", "describe", *workflow, "--output", "json"))
    return str(described["workflowExecutionInfo"]["status"])


def begin(stack: RunningStack, ledger: Path) -> str:
    """A pipeline in the middle of its second step."""
    pipeline_id = stack.submit(FILE.format(ledger=ledger))
    stack.wait_line(pipeline_id, "waiting")
    return pipeline_id


def runs(ledger: Path, step: str) -> list[str]:
    """What each run of a step wrote down: for `two`, the id of its process."""
    return (ledger / step).read_text().split()


def wait_gone(pid: str) -> None:
    wait_for(lambda: not Path("/proc", pid).exists(), what=f"process {pid} to be stopped")


def wait_running(stack: RunningStack, pipeline_id: str) -> None:
    """Until the store knows that step two runs (RUNNING is held back for a moment)."""
    wait_for(lambda: stack.get(pipeline_id)["steps"][1]["state"] == "running", what="step two")


def assert_nothing_is_held(stack: RunningStack) -> None:
    """A pipeline that asks for all of the node's memory is placed and completes."""
    facts = stack.http.get("/nodes/local").json()["facts"]
    whole = f"{facts['memory_bytes'] // 2**20}MiB"
    text = (
        f"name: whole\nplacement: {{node: local}}\nresources: {{memory: {whole}}}\n"
        "steps: [{type: command, command: 'true'}]"
    )
    assert stack.finish(stack.submit(text))["state"] == "completed"


def test_a_terminated_workflow_fails_its_pipeline_and_leaves_nothing_on_the_node(
    shared_stack: RunningStack, ledger: Path
) -> None:
    pipeline_id = begin(shared_stack, ledger)
    wait_running(shared_stack, pipeline_id)
    temporal(shared_stack, "workflow", "terminate", "--workflow-id", f"pipeline-{pipeline_id}")
    record = shared_stack.finish(pipeline_id)
    assert (record["state"], record["reason"]) == ("failed", "WORKFLOW_LOST")
    assert "terminated" in record["message"]
    assert [step["state"] for step in record["steps"]] == ["completed", "failed", "skipped"]
    wait_gone(*runs(ledger, "two"))
    assert_nothing_is_held(shared_stack)


def test_a_workflow_reset_under_a_running_step_runs_it_anew(
    shared_stack: RunningStack, ledger: Path
) -> None:
    pipeline_id = begin(shared_stack, ledger)
    workflow = ("--workflow-id", f"pipeline-{pipeline_id}")
    temporal(shared_stack, "workflow", "reset", *workflow, "--type", "FirstWorkflowTask")
    wait_for(lambda: len(runs(ledger, "two")) == 2, what="the second run of step two")
    first, second = runs(ledger, "two")
    wait_gone(first)
    (ledger / "gate").write_text("gate open\n")
    record = shared_stack.finish(pipeline_id)
    assert record["state"] == "completed"
    assert [len(runs(ledger, step)) for step in ("one", "two", "three")] == [2, 2, 1]
    assert shared_stack.lines(pipeline_id, step="two") == [
        f"waiting in {first}",
        RUNS_ANEW,
        f"waiting in {second}",
        "gate open",
    ]
    assert_nothing_is_held(shared_stack)


def test_a_completed_workflow_that_is_reset_changes_nothing(
    shared_stack: RunningStack, ledger: Path
) -> None:
    pipeline_id = begin(shared_stack, ledger)
    (ledger / "gate").write_text("gate open\n")
    before = shared_stack.finish(pipeline_id)
    workflow = ("--workflow-id", f"pipeline-{pipeline_id}")
    temporal(shared_stack, "workflow", "reset", *workflow, "--type", "FirstWorkflowTask")
    wait_for(lambda: status(shared_stack, *workflow) == CLOSED, what="the new run to close")
    assert shared_stack.get(pipeline_id) == before
    assert [runs(ledger, step) for step in ("one", "three")] == [["ran"], ["ran"]]
    assert_nothing_is_held(shared_stack)
