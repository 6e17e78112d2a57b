"""A game node is gone in the middle of step two of three: `on_node_lost` decides what follows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.process_runtime import RUN_AGAIN
from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.stack import RunningStack, wait_for

POLICIES = ("reschedule", "fail", "wait")
FILE = """
name: {policy}
on_node_lost: {policy}
placement: {{match: [{{key: pool, op: in, values: [mortal]}}]}}
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
    """Three pipelines whose node is lost under their second step, and a node that could follow."""

    stack: RunningStack
    folder: Path
    doomed: FleetNode
    spare: FleetNode
    pipelines: dict[str, str]

    def pass_gate(self, policy: str) -> None:
        (self.folder / f"{policy}.gate").touch()

    def ran(self, policy: str) -> list[str]:
        """What each run of a step wrote down."""
        return (self.folder / policy).read_text().splitlines()

    def generations(self, policy: str) -> list[dict[str, Any]]:
        answer = self.stack.http.get(f"/pipelines/{self.pipelines[policy]}/placement")
        return list(answer.json()["generations"])

    def events(self, policy: str, kind: str) -> list[dict[str, Any]]:
        answer = self.stack.http.get(f"/pipelines/{self.pipelines[policy]}/events")
        return [event["data"] for event in answer.json() if event["kind"] == kind]

    def shown(self, policy: str) -> str:
        """What `gamepipe get` prints, with single spaces."""
        done = self.stack.run("get", self.pipelines[policy])
        assert done.returncode == 0, done.stderr
        return re.sub(" +", " ", done.stdout)


@pytest.fixture(scope="module")
def loss(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Loss:
    stack, folder = fleet.stack, tmp_path_factory.mktemp("ledger")
    doomed = fleet.add("doomed", "--label", "pool=mortal")
    doomed.start()
    pipelines = {
        policy: stack.submit(FILE.format(policy=policy, ledger=folder / policy))
        for policy in POLICIES
    }
    for pipeline_id in pipelines.values():
        stack.wait_line(pipeline_id, "two on doomed")
        wait_for(lambda name=pipeline_id: state_of_two(stack, name) == "running", what="step two")
    spare = fleet.add("spare", "--label", "pool=mortal")
    spare.start()
    doomed.lose()
    wait_for(lambda: doomed.record()["connectivity"] == "lost", what="the node to be lost")
    return Loss(stack=stack, folder=folder, doomed=doomed, spare=spare, pipelines=pipelines)


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
