"""GPUs that a container reserves, as in Compose, are counted like those that a file states."""

import pytest

from gamepipe.definition import parse_pipeline
from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.choose import Choice, Refusal, choose
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need, need_of
from gamepipe.scheduling.snapshot import Snapshot

GAME = """
name: game
steps:
  - container:
      image: game
      deploy: {{resources: {{reservations: {{devices: [{{capabilities: [gpu]{count}}}]}}}}}}
"""


def need(count: str) -> Need:
    return need_of(parse_pipeline(GAME.format(count=count)), {})


def node(gpus: int) -> GameNode:
    devices = tuple(GpuFacts(index=index, model="L4") for index in range(gpus))
    facts = NodeFacts(cpu=8, memory_bytes=1, disk_bytes=1, gpus=devices, features=("container",))
    return GameNode(id=f"n{gpus}", facts=facts)


@pytest.mark.parametrize(
    ("count", "asked", "devices"),
    [("", 1, (0,)), (", count: 2", 2, (0, 1)), (", count: all", -1, (0, 1))],
)
def test_a_reservation_is_a_request_of_the_pipeline(
    count: str, asked: int, devices: tuple[int, ...]
) -> None:
    wanted = need(count)
    assert wanted.resources.gpu == GpuRequest(count=asked)
    assert choose(wanted, Snapshot(fleet=Fleet([node(2)]))) == Choice(
        node_id="n2", gpu_devices=devices
    )
    refused = choose(wanted, Snapshot(fleet=Fleet([node(0)])))
    assert isinstance(refused, Refusal)
    assert refused.counts == {"GPU_SHORT": 1}
