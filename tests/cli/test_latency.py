"""`gamepipe nodes latency`, as people run it."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.stack import RunningStack

PLACE = {"latitude": 59.3, "longitude": 18.1}


@pytest.fixture
def stack(shared_stack: RunningStack) -> Iterator[RunningStack]:
    yield shared_stack
    shared_stack.http.patch("/nodes/local", json={"location": {}})
    shared_stack.http.delete("/regions/cli-near")


def test_latencies_of_a_node_say_how_they_are_known(stack: RunningStack) -> None:
    stack.http.patch("/nodes/local", json={"location": PLACE}).raise_for_status()
    stack.http.put("/regions/cli-near", json=PLACE).raise_for_status()
    probes = {"probes": [{"from": "cli-far", "rtt_ms": 180, "count": 10}]}
    stack.http.post("/nodes/local/latency", json=probes).raise_for_status()
    done = stack.run("nodes", "latency", "local")
    assert (done.returncode, done.stderr) == (0, "")
    title, *rows = [line.split() for line in done.stdout.splitlines()]
    assert title[:2] == ["FROM", "RTT"]
    found = {row[0]: row for row in rows}
    assert {"distance", "predicted"} & set(found["cli-near"])
    assert "measured" in found["cli-far"]
    shown = json.loads(stack.run("nodes", "latency", "local", "-o", "json").stdout)
    assert {one["from"] for one in shown} >= {"cli-near", "cli-far"}


def test_latencies_of_no_node_are_an_error_in_words(shared_stack: RunningStack) -> None:
    done = shared_stack.run("nodes", "latency", "nobody")
    assert done.returncode == 1
    assert "no node 'nobody'" in done.stderr
