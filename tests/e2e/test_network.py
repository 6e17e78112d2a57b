"""The network between a gRPC agent and its gateway fails without a word: packets just vanish."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agent.making import processes_of
from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.network import Machine, far_machine, require_namespaces
from tests.e2e.stack import GAMEPIPE, wait_for
from tests.stack_fixtures import StartStack, fleet_at, started

TTL_SECONDS = 6
FILE = """
name: far
on_node_lost: {policy}
placement: {{match: [{{key: far, op: exists}}]}}
steps:
  - name: one
    type: command
    command: |
      echo one on $GAMEPIPE_NODE_ID | tee -a {ledger}
      n=0
      until [ -e {ledger}.gate ]; do n=$((n + 1)); echo tick $n; sleep 0.05; done
      echo ticked $n times
  - {{name: two, type: command, command: "echo two on $GAMEPIPE_NODE_ID | tee -a {ledger}"}}
"""


class Far:
    """A stack that listens on the network, and a node that reaches it over a cable."""

    def __init__(self, fleet: Fleet, machine: Machine, folder: Path) -> None:
        self.fleet, self.stack, self.machine, self.folder = fleet, fleet.stack, machine, folder
        port = self.stack.info["grpc_address"].rpartition(":")[2]
        self.node = self.fleet.add(
            "far",
            *("--label", "far=yes", "--gateway", f"{machine.here}:{port}"),
            program=[*machine.exec, *GAMEPIPE],
        )
        self.node.start()

    def begin(self, policy: str) -> str:
        """A pipeline in the middle of its first step, on the far node."""
        text = FILE.format(policy=policy, ledger=self.folder / policy)
        pipeline_id = self.stack.submit(text)
        self.stack.wait_line(pipeline_id, "tick 5")
        wait_for(lambda: self.steps(pipeline_id)[0]["state"] == "running", what="step one")
        return pipeline_id

    def steps(self, pipeline_id: str) -> list[dict[str, object]]:
        return list(self.stack.get(pipeline_id)["steps"])

    def open_gate(self, policy: str) -> None:
        (self.folder / f"{policy}.gate").touch()

    def ran(self, policy: str) -> list[str]:
        return (self.folder / policy).read_text().splitlines()

    def seen_at(self) -> datetime:
        return datetime.fromisoformat(str(self.node.record()["last_seen_at"]))

    def connectivity(self) -> str:
        return str(self.node.record()["connectivity"])


@pytest.fixture(scope="module")
def far(prepare_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    require_namespaces()
    folder = tmp_path_factory.mktemp("far")
    stack = prepare_stack(
        folder / "stack",
        GAMEPIPE_AGENT_TRANSPORT="grpc",
        GAMEPIPE_GRPC_HOST="0.0.0.0",
        GAMEPIPE_INSECURE="true",
    )
    with started(stack), far_machine() as machine, fleet_at(stack, folder) as fleet:
        yield Far(fleet, machine, folder)


def whole(lines: list[str]) -> bool:
    """Every tick once and in order, up to the last."""
    *ticks, last = lines[1:]
    count = len(ticks)
    return ticks == [f"tick {n}" for n in range(1, count + 1)] and last == f"ticked {count} times"


def test_a_cut_shorter_than_the_lease_costs_nothing(far: Far) -> None:
    """Behind a cut TCP may be silent for as long again before it tries anew."""
    pipeline_id = far.begin("fail")
    third = timedelta(seconds=TTL_SECONDS / 3)
    with far.machine.cut_off():
        wait_for(lambda: datetime.now(UTC) - far.seen_at() > third, what="silence")
    last = far.seen_at()
    wait_for(lambda: far.seen_at() > last, what="the node to be back")
    far.open_gate("fail")
    record = far.stack.finish(pipeline_id)
    assert (record["state"], record["generation"]) == ("completed", 1), record
    assert [step["attempt"] for step in record["steps"]] == [1, 1]
    assert far.ran("fail") == ["one on far", "two on far"]
    assert whole(far.stack.lines(pipeline_id, step="one"))


def test_a_cut_longer_than_the_lease_moves_the_pipeline_and_stops_what_was_left(far: Far) -> None:
    pipeline_id = far.begin("reschedule")
    (left, *_) = processes_of(far.node.folders)
    spare: FleetNode = far.fleet.add("spare", "--label", "far=yes")
    spare.start()
    with far.machine.cut_off():
        wait_for(lambda: far.stack.get(pipeline_id)["generation"] == 2, what="a new generation")
        wait_for(lambda: not left.is_running(), seconds=3 * TTL_SECONDS, what="it to stop itself")
    wait_for(lambda: far.connectivity() == "online", what="the node to be back")
    wait_for(lambda: far.node.record()["stop_orders"] == 0, what="its leftovers to be stopped")
    far.open_gate("reschedule")
    record = far.stack.finish(pipeline_id)
    assert (record["state"], record["node_id"]) == ("completed", "spare"), record
    assert far.ran("reschedule") == ["one on far", "one on spare", "two on spare"]
    assert whole(far.stack.lines(pipeline_id, generation=2, step="one"))
