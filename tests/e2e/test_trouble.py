"""Bad luck on a node: a clear reason that names the remedy, and nothing is lost."""

import asyncio
import os
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.container_engine import connect_docker
from tests.docker_engine import OwnEngine
from tests.docker_fixtures import BUSYBOX, import_image
from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.freezing import frozen
from tests.e2e.stack import RunningStack, wait_for

FILE = """
name: trouble
placement: {{node: {node}}}
steps:
  - {{name: before, type: command, command: echo kept}}
  - name: box
    container: {{image: "{image}", commands: [echo boxed], ports: [{port}]}}
  - {{name: after, type: command, always: true, command: echo tidied}}
"""
LINES = 200
FILLING_FILE = """
name: filling
placement: {{node: cramped}}
steps:
  - name: fill
    type: command
    command: |
      echo ready
      until [ -e {folder}/talk ]; do sleep 0.02; done
      for n in $(seq {lines}); do echo line $n; done
      until [ -e {folder}/fill ]; do sleep 0.02; done
      dd if=/dev/zero of={disk}/ballast bs=4k || touch {folder}/full
      yes 0123456789
"""
SMALL_FILE = """
name: small
placement: {{node: {node}}}
steps: [{{type: command, command: echo hello}}]
"""


@pytest.fixture(scope="module")
def boxer(fleet: Fleet, docker_url: str) -> FleetNode:
    """A node that runs containers."""
    node = fleet.add("boxer", docker_url=docker_url)
    node.start()
    return node


def submit(stack: RunningStack, *, node: str, image: str = BUSYBOX, port: int | str = "") -> str:
    return stack.submit(FILE.format(node=node, image=image, port=port and f'"{port}:80"'))


def failed_step(stack: RunningStack, pipeline_id: str) -> dict[str, Any]:
    """The step in trouble, whose pipeline lost nothing of the steps around it."""
    record = stack.finish(pipeline_id)
    assert (record["state"], record["reason"]) == ("failed", "STEP_FAILED"), record
    before, box, after = record["steps"]
    assert [before["state"], box["state"], after["state"]] == ["completed", "failed", "completed"]
    assert stack.lines(pipeline_id, step="before") == ["kept"]
    assert stack.lines(pipeline_id, step="after") == ["tidied"]
    assert box["message"] in " ".join(stack.run("get", pipeline_id).stdout.split())
    return dict(box)


def test_an_image_that_does_not_exist_is_named(
    boxer: FleetNode, shared_stack: RunningStack
) -> None:
    image = "localhost:1/none/such:7"
    step = failed_step(shared_stack, submit(shared_stack, node=boxer.id, image=image))
    assert step["reason"] == "IMAGE_PULL_FAILED"
    assert image in step["message"]
    assert "docker load" in step["message"]


def test_a_port_that_is_taken_is_named_and_works_once_it_is_free(
    boxer: FleetNode, shared_stack: RunningStack, busybox_image: str
) -> None:
    with closing(socket.create_server(("0.0.0.0", 0))) as holder:
        port = holder.getsockname()[1]
        pipeline_id = submit(shared_stack, node=boxer.id, image=busybox_image, port=port)
        step = failed_step(shared_stack, pipeline_id)
    assert step["reason"] == "PORT_TAKEN"
    assert f"port {port}" in step["message"]
    assert "publish another port" in step["message"]
    again = submit(shared_stack, node=boxer.id, image=busybox_image, port=port)
    assert shared_stack.finish(again)["state"] == "completed"


def test_an_engine_that_went_away_under_a_placed_pipeline_is_named(
    fleet: Fleet, tmp_path: Path
) -> None:
    facts = tmp_path / "facts.yaml"
    facts.write_text("features: [command, container]\n")
    url = f"unix://{tmp_path}/none.sock"
    node = fleet.add("dockerless", "--facts", str(facts), docker_url=url)
    node.start()
    step = failed_step(fleet.stack, submit(fleet.stack, node=node.id))
    assert step["reason"] == "RUNTIME_UNAVAILABLE"
    assert "systemctl start docker" in step["message"]
    commands = fleet.stack.submit(SMALL_FILE.format(node=node.id))
    assert fleet.stack.finish(commands)["state"] == "completed"


async def provide_image(url: str) -> None:
    client = connect_docker(url)
    try:
        await import_image(client, BUSYBOX)
    finally:
        await client.close()


def test_docker_that_comes_up_later_opens_the_node_to_containers(
    fleet: Fleet, own_engine: OwnEngine
) -> None:
    asyncio.run(provide_image(own_engine.url))
    own_engine.stop()
    node = fleet.add("late", docker_url=own_engine.url)
    node.start()
    assert "container" not in node.record()["facts"]["features"]
    pipeline_id = submit(fleet.stack, node=node.id)
    wait_for(lambda: fleet.stack.get(pipeline_id)["reason"] == "NO_CAPACITY", what="it to wait")
    shown = " ".join(fleet.stack.run("get", pipeline_id).stdout.split())
    assert "runs no container steps: its agent finds no Docker engine; start Docker there" in shown
    own_engine.start()
    assert fleet.stack.finish(pipeline_id)["state"] == "completed"
    assert fleet.stack.lines(pipeline_id, step="box") == ["boxed"]
    assert node.record()["facts"]["docker_version"]
    own_engine.stop()
    wait_for(lambda: "container" not in node.record()["facts"]["features"], what="it to be closed")
    assert node.is_alive


def fill(disk: Path) -> None:
    """Take what is left."""
    with suppress(OSError), (disk / "ballast-2").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0


def is_spooled(node: FleetNode, text: str) -> bool:
    segments = node.folders.spool.rglob("*.seg")
    return any(text.encode() in path.read_bytes() for path in segments)


def assert_disk_full(stack: RunningStack, pipeline_id: str) -> None:
    record = stack.finish(pipeline_id)
    (step,) = record["steps"]
    assert (record["state"], step["reason"]) == ("failed", "DISK_FULL"), record
    assert "no space left on the node" in step["message"]
    assert "free disk space" in step["message"]


def test_a_full_disk_is_named_and_the_agent_goes_on_once_it_is_free(
    fleet: Fleet, small_disk: Path, tmp_path: Path
) -> None:
    stack = fleet.stack
    node = fleet.add("cramped", data_dir=small_disk / "agent")
    node.start()
    session = node.record()["session"]
    filling = stack.submit(FILLING_FILE.format(lines=LINES, folder=tmp_path, disk=small_disk))
    stack.wait_line(filling, "ready")
    with frozen(stack.info["pids"]["gateway"]):
        (tmp_path / "talk").touch()
        wait_for(lambda: is_spooled(node, f"line {LINES}"), what="unshipped lines")
        (tmp_path / "fill").touch()
        wait_for((tmp_path / "full").exists, what="a full disk")
    assert_disk_full(stack, filling)
    lines = stack.lines(filling)
    assert lines[1 : LINES + 1] == [f"line {n}" for n in range(1, LINES + 1)]
    wait_for(lambda: not list(node.folders.attempts.glob("*/g*")), what="its files to be removed")
    fill(small_disk)
    assert_disk_full(stack, stack.submit(SMALL_FILE.format(node=node.id)))
    for ballast in small_disk.glob("ballast*"):
        ballast.unlink()
    small = stack.submit(SMALL_FILE.format(node=node.id))
    assert stack.finish(small)["state"] == "completed"
    assert stack.lines(small) == ["hello"]
    assert node.is_alive
    assert node.record()["session"] == session
