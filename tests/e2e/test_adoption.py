"""An agent ends under running steps and comes back: each goes on as one attempt, no line lost.

The pipeline waits for its node, so that it does not matter how slowly the agent comes back.
"""

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.stack import RunningStack, wait_for

KINDS = ("command", "container")
EXIT_CODE = 7
FILE = """
name: adopted
on_node_lost: wait
placement: {{node: adopter}}
steps:
  - name: command
    type: command
    command: |
{command}
  - name: container
    needs: []
    container:
      image: {image}
      volumes: ["{ledger}:/ledger"]
      commands:
        - |
{container}
"""
SCRIPT = """
echo ran >> {ledger}/{kind}.runs
n=0
until [ -e {ledger}/gate ]; do
  n=$((n + 1))
  echo {kind} $n
  echo $n > {ledger}/{kind}.tick
  sleep 0.01
done
echo {kind} counted to $n
exit 7
"""


@pytest.fixture(scope="module")
def adopter(fleet: Fleet, docker_url: str) -> FleetNode:
    node = fleet.add("adopter", docker_url=docker_url)
    node.start()
    return node


def file_of(ledger: Path, image: str) -> str:
    scripts = {
        kind: SCRIPT.format(kind=kind, ledger=folder).strip().replace("\n", "\n" + " " * 10)
        for kind, folder in (("command", ledger), ("container", "/ledger"))
    }
    return FILE.format(
        image=image, ledger=ledger, **{kind: " " * 10 + text for kind, text in scripts.items()}
    )


def ticks(ledger: Path, kind: str) -> int:
    """How far the step has counted; 0 while it writes that down."""
    return int((ledger / f"{kind}.tick").read_text() or 0)


def wait_count(ledger: Path, kind: str, more: int) -> int:
    """Until the step has counted on; to where."""
    target = ticks(ledger, kind) + more
    wait_for(lambda: ticks(ledger, kind) >= target, what=f"the {kind} step to go on")
    return target


def printed(stack: RunningStack, pipeline_id: str, kind: str) -> list[str]:
    """What the step itself wrote; the agent's own words (that it adopted) stand between."""
    answer = stack.http.get(
        f"/pipelines/{pipeline_id}/logs",
        params={"follow": True, "step": kind},
        headers={"Accept": "application/x-ndjson"},
    )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return [line["text"] for line in lines if line["stream"] == "stdout"]


def check(stack: RunningStack, pipeline_id: str, ledger: Path, kind: str) -> None:
    """One attempt, one run, its exit code, and every line once and in order."""
    step = stack.get(pipeline_id)["steps"][KINDS.index(kind)]
    assert (step["state"], step["reason"]) == ("failed", "EXIT_CODE"), step
    assert (step["attempt"], step["exit_code"]) == (1, EXIT_CODE)
    assert (ledger / f"{kind}.runs").read_text() == "ran\n"
    count = ticks(ledger, kind)
    assert printed(stack, pipeline_id, kind) == [
        *(f"{kind} {number}" for number in range(1, count + 1)),
        f"{kind} counted to {count}",
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_restarted_agent_adopts_a_running_command_and_a_running_container(
    adopter: FleetNode,
    shared_stack: RunningStack,
    busybox_image: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    pipeline_id = shared_stack.submit(file_of(tmp_path, busybox_image))
    for kind in KINDS:
        shared_stack.wait_line(pipeline_id, f"{kind} 20")
    assert adopter.end(number) == (0 if number is signal.SIGTERM else -number)
    for kind in KINDS:
        wait_count(tmp_path, kind, 30)
    adopter.start()
    for kind in KINDS:
        shared_stack.wait_line(pipeline_id, f"{kind} {wait_count(tmp_path, kind, 20)}")
    (tmp_path / "gate").touch()
    assert shared_stack.finish(pipeline_id)["state"] == "failed"
    for kind in KINDS:
        check(shared_stack, pipeline_id, tmp_path, kind)
