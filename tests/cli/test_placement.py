"""`gamepipe why` and `gamepipe plan` against a whole stack: what people read."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gamepipe.cli.placement import headline
from gamepipe.model.node import GpuFacts, NodeFacts
from gamepipe.ports import Registration
from store.store import GamePipelineStore
from tests.cli.terminal import Session
from tests.e2e.stack import RunningStack, wait_for
from tests.stack_fixtures import KINDS, stacks_of, started

GAME = """
name: chess
args: [ROOM: blue]
resources: {{cpu: 2, gpu: {gpu}}}
placement: {{match: [{{key: fleet, op: in, values: why}}]}}
steps: [{{type: command, command: "true"}}]
"""
LOCAL = """
name: here
steps: [{type: command, command: "true"}]
"""
NODES = 12


def facts(cpu: float, *models: str) -> NodeFacts:
    gpus = tuple(
        GpuFacts(index=index, model=model, memory_bytes=16 << 30)
        for index, model in enumerate(models)
    )
    return NodeFacts(
        cpu=cpu, memory_bytes=1 << 36, disk_bytes=1 << 40, gpus=gpus, features=("command",)
    )


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """A stack with nodes that only its store knows, and that it does not take for lost: one has
    two GPUs of one kind, the others are small."""
    stack = stacks_of(KINDS[0], request)(tmp_path_factory.mktemp("stack"), GAMEPIPE_NODE_TTL="3600")
    with started(stack):
        asyncio.run(add_nodes(stack.store_url))
        yield stack


async def add_nodes(store_url: str) -> None:
    store, now = await GamePipelineStore.open(store_url), datetime.now(UTC)
    for number in range(NODES):
        node_id = f"why-{number:02}" if number else "why-big"
        has = facts(2, "NVIDIA L4") if number else facts(8, "NVIDIA T4", "NVIDIA T4")
        registration = Registration(node_id=node_id, facts=has, labels={"fleet": "why"})
        await store.nodes.register(registration, now=now)
    await store.close()


def write(folder: Path, text: str) -> str:
    (folder / "game.yaml").write_text(text)
    return str(folder / "game.yaml")


def shown(stack: RunningStack, *arguments: str, terminal: bool = False) -> tuple[int, str]:
    """Exit status and output, blanks folded."""
    environment = stack.environment | {"GAMEPIPE_URL": stack.info["url"]}
    with Session(*arguments, terminal=terminal, environment=environment, width=120) as session:
        status = session.end()
    return status, "\n".join(" ".join(line.split()) for line in session.output.splitlines())


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_why_shows_a_placed_pipelines_node(shared_stack: RunningStack, terminal: bool) -> None:
    pipeline_id = shared_stack.submit(LOCAL, id=f"here-{terminal}".lower())
    shared_stack.finish(pipeline_id)
    status, said = shown(shared_stack, "why", pipeline_id, terminal=terminal)
    assert status == 0
    assert f"pipeline {pipeline_id}\nstate completed\nnode local (generation 1)\n" in said
    assert "chosen the " in said


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_plan_says_how_many_fit_where_and_what_stops_the_next(
    fleet: RunningStack, tmp_path: Path, terminal: bool
) -> None:
    file = write(tmp_path, GAME.format(gpu="{count: 1}"))
    status, said = shown(fleet, "plan", file, "--count", "20", terminal=terminal)
    assert status == 1
    assert f"13 of 20 copies of chess would start now, on {NODES} of " in said
    assert " node(s); 7 would wait\n" in said
    assert "... and 3 on 2 more nodes; --all shows them" in said
    assert "copy 1 the cheapest of 12 that fit, of " in said
    assert "copy 14 would be 1st of 1 in the queue" in said
    assert "tenant default would hold " in said
    assert "\nCAUSE NODES WHICH THE FIRST ONE\n" in said
    assert "GPU_SHORT 1 why-big has 0 of 1 GPU(s) free" in said
    assert "CPU_SHORT 11 why-01, why-02, why-03, ... has 0 of 2 cores free" in said
    assert "what would let it run, the smallest change first:" in said
    everything = shown(fleet, "plan", file, "--count", "20", "--all", terminal=terminal)[1]
    assert everything.count("\nwhy-11 ") >= 2


def test_plan_of_one_compares_its_node_with_the_runners_up(
    fleet: RunningStack, tmp_path: Path
) -> None:
    file = write(tmp_path, GAME.format(gpu="{count: 1}"))
    status, said = shown(fleet, "plan", file, "--arg", "ROOM=red")
    lines = said.splitlines()
    assert (status, lines[0][:28]) == (0, "chess would start now, on wh")
    chosen = lines[0].rsplit(" ", 1)[1]
    head = next(line for line in lines if line.startswith("COST "))
    assert head.split()[1] == chosen
    assert len(head.split()) == 5
    assert any(line.startswith("in all ") for line in lines)
    parsed = json.loads(fleet.run("plan", file, "-o", "json").stdout)
    assert parsed["first"]["ranked"][0]["node_id"] == parsed["placed"][0]["node_id"] == chosen


def test_why_shows_a_waiting_pipelines_place_causes_and_remedies(
    fleet: RunningStack, tmp_path: Path
) -> None:
    text = GAME.format(gpu="{count: 2, model: L4}")
    pipeline_id = fleet.submit(text, id="why-not")
    wait_for(lambda: fleet.get(pipeline_id)["reason"] == "NO_CAPACITY", what="it to wait")
    status, said = shown(fleet, "why", pipeline_id)
    assert status == 0
    assert "state pending\nwaits 1st of 1 in the queue, for " in said
    nobody = "turn priority 0; tenant default holds nothing, with weight 1\nbefore it nobody\n"
    assert nobody in said
    assert "GPU_SHORT 12 why-01, why-02, why-03, ... has 1 of 2 GPU(s) free" in said
    remedies = said.split("what would let it run, the smallest change first:\n")[1]
    assert remedies.splitlines()[:3] == [
        "ask for 1 GPU instead of 2: then why-01, why-02, why-03 and 8 more fit",
        "drop resources.gpu.model L4: then why-big fits",
        "add 1 GPU of model L4 to any of why-01, why-02, why-03 and 8 more",
    ]
    everything = shown(fleet, "why", pipeline_id, "--all")[1]
    assert "\nwhy-11 GPU_SHORT has 1 of 2 GPU(s) free\n" in everything
    parsed = json.loads(fleet.run("why", pipeline_id, "-o", "json").stdout)
    assert sum(one["count"] for one in parsed["causes"]) == len(parsed["verdicts"]) > NODES
    assert fleet.run("delete", pipeline_id, "--force").returncode == 0


def test_what_is_wrong_is_said_as_elsewhere(shared_stack: RunningStack, tmp_path: Path) -> None:
    wrong = shared_stack.run("plan", write(tmp_path, LOCAL.replace("type", "tpye")))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean `type`?" in wrong.stderr
    unknown = shared_stack.run("why", "nothing")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "gamepipe: no pipeline 'nothing' [NOT_FOUND]\n",
    )
    many = shared_stack.run("plan", write(tmp_path, LOCAL), "--count", "0")
    assert many.returncode == 2


TAKEN = """
name: chess
priority: {priority}
resources: {{cpu: 2}}
placement: {{node: why-05, preemptible: true}}
steps: [{{type: command, command: "true"}}]
"""


def test_plan_and_why_name_those_that_make_room(fleet: RunningStack, tmp_path: Path) -> None:
    low = fleet.submit(TAKEN.format(priority=0), id="makes-room")
    wait_for(lambda: fleet.get(low)["state"] == "running", what="it to run")
    file = write(tmp_path, TAKEN.format(priority=3))
    status, planned = shown(fleet, "plan", file)
    assert (status, planned.splitlines()[0]) == (
        1,
        "chess would start on why-05 after makes-room makes room",
    )
    several = shown(fleet, "plan", file, "--count", "3")[1]
    assert "; 1 more once others made room; 2 would wait\n" in several
    assert "\nNODE COPIES AFTER THESE MADE ROOM\nwhy-05 1 makes-room\n" in several
    high = fleet.submit(TAKEN.format(priority=3), id="needs-room")
    wait_for(lambda: "waits for 1 pipeline" in fleet.get(high)["message"], what="it to wait")
    said = shown(fleet, "why", high)[1]
    assert "room 1 pipeline makes room for it on node why-05: makes-room\n" in said
    assert fleet.get(low)["reason"] == "PREEMPTED"
    for pipeline_id in (low, high):
        assert fleet.run("delete", pipeline_id, "--force").returncode == 0


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"fitting": 0, "queue_full": 3}, "; 3 would be refused: QUEUE_FULL"),
        ({"fitting": 0, "queue_full": 1}, "; 2 would wait; 1 would be refused: QUEUE_FULL"),
    ],
)
def test_a_headline_counts_those_that_a_full_queue_refuses(
    found: dict[str, Any], said: str
) -> None:
    plain = {"name": "x", "asked": 3, "nodes": 2, "placed": [], "preempting": []}
    assert headline(plain | found) == f"none of 3 copies of x would start now{said}"
