"""Parts of the service are away for long, a clock is wrong: nobody is taken for dead."""

import sys
from pathlib import Path

from tests.e2e.fleet import Fleet
from tests.e2e.freezing import frozen
from tests.e2e.stack import FAST, RunningStack, wait_for

TTL_SECONDS = float(FAST["GAMEPIPE_NODE_TTL"])
FILE = """
name: busy
on_node_lost: reschedule
placement: {{node: {node}}}
steps:
  - name: work
    type: command
    timeout: 10m
    command: |
      echo began >> {ledger}
      n=0
      until [ -e {ledger}.gate ]; do n=$((n + 1)); echo tick $n; sleep 0.1; done
  - {{name: last, type: command, command: "echo ended >> {ledger}"}}
"""


def connectivities(stack: RunningStack, node_id: str, after_id: int) -> set[str]:
    """What the node was seen as since an event."""
    events = stack.http.get("/events", params={"after_id": after_id, "limit": 1000}).json()
    return {
        event["data"]["connectivity"]
        for event in events
        if event["kind"] == "node_connectivity_changed" and event["node_id"] == node_id
    }


def last_event(stack: RunningStack) -> int:
    events: list[dict[str, int]] = []
    while page := stack.http.get(
        "/events", params={"after_id": events[-1]["id"] if events else 0, "limit": 1000}
    ).json():
        events = page
    return events[-1]["id"]


def test_gateways_that_are_away_for_longer_than_the_ttl_lose_no_busy_node(
    shared_stack: RunningStack, stack_kind: str, tmp_path: Path
) -> None:
    """Steps of a Temporal agent go on all the time. A gRPC agent is cut off and must stop its step,
    for it might run elsewhere by now; it runs anew, and nothing ever runs beside it."""
    ledger, before = tmp_path / "ledger", last_event(shared_stack)
    pipeline_id = shared_stack.submit(FILE.format(node="local", ledger=ledger))
    shared_stack.wait_line(pipeline_id, "tick 5")
    with frozen(shared_stack.info["pids"]["gateway"], seconds=2 * TTL_SECONDS):
        pass
    (tmp_path / "ledger.gate").touch()
    record = shared_stack.finish(pipeline_id)
    assert "lost" not in connectivities(shared_stack, "local", before)
    generations = 1 if stack_kind.startswith("temporal") else 2
    assert (record["state"], record["generation"]) == ("completed", generations), record
    assert [step["attempt"] for step in record["steps"]] == [1, 1]
    assert ledger.read_text() == "began\n" * generations + "ended\n"


def test_an_agent_whose_clock_is_an_hour_ahead_is_an_agent_like_others(
    fleet: Fleet, tmp_path: Path
) -> None:
    program = [sys.executable, "-m", "tests.e2e.skewed"]
    node = fleet.add("skewed", program=program)
    node.start()
    ledger, before = tmp_path / "ledger", last_event(fleet.stack)
    pipeline_id = fleet.stack.submit(FILE.format(node="skewed", ledger=ledger))
    fleet.stack.wait_line(pipeline_id, "tick 5")
    node.end(9)
    node.start()
    ticks = len(fleet.stack.lines_now(pipeline_id))
    wait_for(lambda: len(fleet.stack.lines_now(pipeline_id)) > ticks, what="it to be adopted")
    (tmp_path / "ledger.gate").touch()
    record = fleet.stack.finish(pipeline_id)
    assert (record["state"], record["generation"]) == ("completed", 1), record
    assert [step["attempt"] for step in record["steps"]] == [1, 1]
    assert ledger.read_text() == "began\nended\n"
    assert connectivities(fleet.stack, "skewed", before) <= {"suspect", "online"}
    started, ended = (record["steps"][0][name] for name in ("started_at", "ended_at"))
    assert started < ended
