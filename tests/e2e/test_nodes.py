"""A game node is gone in the middle of step two of three: `on_node_lost` decides what follows."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.process_runtime import RUN_AGAIN
from tests.agent.making import processes_of
from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.stack import RunningStack, wait_for

POLICIES = ("reschedule", "fail", "wait")
LEFT_RUNNING = "left-running"
MORTAL, BEHEADED = ("--label", "mortal=yes"), ("--label", "beheaded=yes")
FILE = """
name: {name}
on_node_lost: {policy}
placement: {{match: [{{key: {label}, op: exists}}]}}
steps:
  - {{name: one, type: command, command: "echo one on $GAMEPIPE_NODE_ID | tee -a {ledger}"}}
  - name: two
    type: command
    command: |
      echo two on $GAMEPIPE_NODE_ID | tee -a {ledger}
      until [ -e {ledger}.gate ]; do sleep 0.1; done
  - {{name: three, type: command, command: "echo three on $GAMEPIPE_NODE_ID | tee -a {ledger}"}}
"""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Pipelines whose node is lost under their second step, and a node that could follow.

    The machine `doomed` is gone with all that ran on it; of `headless` only the agent died.
    """

    stack: RunningStack
    folder: Path
    doomed: FleetNode
    headless: FleetNode
    pipelines: dict[str, str]

    def pass_gate(self, name: str) -> None:
        (self.folder / f"{name}.gate").touch()

    def ran(self, name: str) -> list[str]:
        """What each run of a step wrote down."""
        return (self.folder / name).read_text().splitlines()

    def generations(self, name: str) -> list[dict[str, Any]]:
        answer = self.stack.http.get(f"/pipelines/{self.pipelines[name]}/placement")
        return list(answer.json()["generations"])

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        answer = self.stack.http.get(f"/pipelines/{self.pipelines[name]}/events")
        return [event["data"] for event in answer.json() if event["kind"] == kind]

    def shown(self, name: str) -> str:
        """What `gamepipe get` prints, with single spaces."""
        done = self.stack.run("get", self.pipelines[name])
        assert done.returncode == 0, done.stderr
        return re.sub(" +", " ", done.stdout)


@pytest.fixture(scope="module")
def loss(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Loss:
    stack, folder = fleet.stack, tmp_path_factory.mktemp("ledger")
    doomed, headless = fleet.add("doomed", *MORTAL), fleet.add("headless", *BEHEADED)
    doomed.start()
    headless.start()

    def submit(name: str, policy: str, label: str = "mortal") -> str:
        text = FILE.format(name=name, policy=policy, label=label, ledger=folder / name)
        return stack.submit(text)

    pipelines = {policy: submit(policy, policy) for policy in POLICIES}
    pipelines[LEFT_RUNNING] = submit(LEFT_RUNNING, "reschedule", "beheaded")
    for pipeline_id in pipelines.values():
        stack.wait_line(pipeline_id, "two on")
        wait_for(lambda name=pipeline_id: state_of_two(stack, name) == "running", what="step two")
    fleet.add("spare", *MORTAL, *BEHEADED).start()
    doomed.lose()
    headless.end(signal.SIGKILL)
    for node in (doomed, headless):
        wait_for(lambda node=node: node.record()["connectivity"] == "lost", what="it to be lost")
    return Loss(stack=stack, folder=folder, doomed=doomed, headless=headless, pipelines=pipelines)


def state_of_two(stack: RunningStack, pipeline_id: str) -> str:
    return str(stack.get(pipeline_id)["steps"][1]["state"])


def states(holder: dict[str, Any]) -> list[str]:
    return [step["state"] for step in holder["steps"]]


def test_reschedule_runs_every_step_on_the_other_node(loss: Loss) -> None:
    loss.pass_gate("reschedule")
    record = loss.stack.finish(loss.pipelines["reschedule"])
    assert (record["state"], record["node_id"]) == ("completed", "spare"), record
    assert record["generation"] == 2
    assert [step["attempt"] for step in record["steps"]] == [1, 1, 1]
    assert loss.ran("reschedule") == [
        *("one on doomed", "two on doomed"),
        *("one on spare", "two on spare", "three on spare"),
    ]


def test_both_generations_stay_readable(loss: Loss) -> None:
    loss.pass_gate("reschedule")
    pipeline_id = loss.pipelines["reschedule"]
    loss.stack.finish(pipeline_id)
    first, second = loss.generations("reschedule")
    assert (first["number"], first["node_id"]) == (1, "doomed")
    assert states(first) == ["completed", "failed", "skipped"]
    assert first["steps"][1]["reason"] == "NODE_LOST"
    assert (second["number"], second["node_id"]) == (2, "spare")
    assert states(second) == ["completed", "completed", "completed"]
    assert loss.stack.lines(pipeline_id, generation=1) == ["one on doomed", "two on doomed"]
    assert loss.stack.lines(pipeline_id, generation=2) == [
        *("one on spare", "two on spare", "three on spare"),
    ]
    assert loss.events("reschedule", "generation_started") == [{"generation": 2}]
    ended = [
        (data["generation"], data["step"], data["state"])
        for data in loss.events("reschedule", "step_state_changed")
        if data["state"] not in ("pending", "running")
    ]
    assert ended == [
        *((1, "one", "completed"), (1, "two", "failed"), (1, "three", "skipped")),
        *((2, "one", "completed"), (2, "two", "completed"), (2, "three", "completed")),
    ]
    shown = loss.shown("reschedule")
    assert "spare (generation 2)" in shown
    assert "doomed (generation 1)" in shown
    assert re.search(r"two failed 1 \S+ NODE_LOST: ", shown), shown


def test_fail_ends_the_pipeline_with_the_reason(loss: Loss) -> None:
    record = loss.stack.finish(loss.pipelines["fail"])
    assert (record["state"], record["reason"]) == ("failed", "NODE_LOST"), record
    assert "doomed" in record["message"]
    assert states(record) == ["completed", "failed", "skipped"]
    assert loss.ran("fail") == ["one on doomed", "two on doomed"]
    assert loss.stack.lines(loss.pipelines["fail"]) == ["one on doomed", "two on doomed"]
    assert "NODE_LOST" in loss.shown("fail")


def test_wait_goes_on_when_the_node_is_back_and_nothing_else_does(loss: Loss) -> None:
    loss.pass_gate("reschedule")
    loss.stack.finish(loss.pipelines["reschedule"])
    record = loss.stack.get(loss.pipelines["wait"])
    assert (record["state"], record["reason"]) == ("running", "WAITING_FOR_NODE"), record
    loss.pass_gate("wait")
    loss.doomed.start()
    record = loss.stack.finish(loss.pipelines["wait"])
    assert (record["state"], record["generation"]) == ("completed", 1), record
    assert [step["attempt"] for step in record["steps"]] == [1, 1, 1]
    assert loss.ran("wait") == ["one on doomed", *["two on doomed"] * 2, "three on doomed"]
    assert loss.stack.lines(loss.pipelines["wait"], step="two") == [
        "two on doomed",
        RUN_AGAIN,
        "two on doomed",
    ]
    wait_for(lambda: loss.doomed.record()["stop_orders"] == 0, what="the node to tidy up")
    wait_for(lambda: not list(loss.doomed.folders.workspaces.glob("*/g*")), what="its workspaces")
    assert loss.ran("fail") == ["one on doomed", "two on doomed"]


def test_a_step_that_outlived_its_agent_is_stopped_when_the_agent_is_back(loss: Loss) -> None:
    record = wait_for(lambda: in_generation_two(loss, LEFT_RUNNING), what="it to run elsewhere")
    assert record["node_id"] == "spare"
    (left, *_) = processes_of(loss.headless.folders)
    loss.headless.start()
    wait_for(lambda: not left.is_running(), what="the older generation to be stopped")
    wait_for(lambda: loss.headless.record()["stop_orders"] == 0, what="that to be confirmed")
    loss.pass_gate(LEFT_RUNNING)
    record = loss.stack.finish(loss.pipelines[LEFT_RUNNING])
    assert (record["state"], record["node_id"]) == ("completed", "spare")
    assert loss.ran(LEFT_RUNNING) == [
        *("one on headless", "two on headless"),
        *("one on spare", "two on spare", "three on spare"),
    ]


def in_generation_two(loss: Loss, name: str) -> dict[str, Any] | None:
    record = loss.stack.get(loss.pipelines[name])
    second = record["generation"] == 2 and record["steps"][1]["state"] == "running"
    return record if second else None
