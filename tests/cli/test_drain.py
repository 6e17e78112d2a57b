"""`gamepipe nodes drain`, as people run it."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.stack import RunningStack


@pytest.fixture
def stack(shared_stack: RunningStack) -> Iterator[RunningStack]:
    yield shared_stack
    shared_stack.run("node", "local", "--state", "normal")


def test_an_idle_node_is_drained_at_once(stack: RunningStack) -> None:
    done = stack.run("nodes", "drain", "local", "--deadline", "30m")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines()[-1] == "local is drained"
    assert stack.http.get("/nodes/local").json()["state"] == "maintenance"
    report = json.loads(stack.run("nodes", "drain", "local", "--no-wait", "-o", "json").stdout)
    assert (report["node_id"], report["deadline"]) == ("local", None)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["local", "--deadline", "soon"], 2, "write 90s, 30m or 1h30m"),
        (["nobody"], 1, "no node 'nobody'"),
        (["../x"], 2, "is no node id"),
    ],
)
def test_a_wrong_drain_says_what_would_be_right(
    stack: RunningStack, arguments: list[str], status: int, said: str
) -> None:
    done = stack.run("nodes", "drain", *arguments)
    assert done.returncode == status, done
    assert said in done.stderr
