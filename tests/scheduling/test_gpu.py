"""Which GPUs of a node a pipeline gets, and what is said when it gets none."""

from dataclasses import replace

import pytest

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.choose import Choice, choose, verdicts
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.snapshot import Snapshot
from tests.store.shapes import NOW

CARD = GpuFacts(index=0, model="NVIDIA L4", memory_bytes=24 << 30, encoders=8)


def node(*gpus: GpuFacts) -> GameNode:
    facts = NodeFacts(cpu=8, memory_bytes=1 << 36, disk_bytes=1 << 40, gpus=gpus)
    return GameNode(id="n1", facts=facts)


def held(request: GpuRequest, *devices: int) -> Allocation:
    return Allocation(
        pipeline_id="other",
        generation=1,
        node_id="n1",
        resources=Resources(gpu=request),
        gpu_devices=devices,
        created_at=NOW,
    )


def ask(request: GpuRequest, there: GameNode, *allocations: Allocation) -> tuple[int, ...] | str:
    """The devices, or the verdict."""
    need, snapshot = (
        Need(resources=Resources(gpu=request)),
        Snapshot(fleet=Fleet([there], allocations)),
    )
    answer = choose(need, snapshot)
    return answer.gpu_devices if isinstance(answer, Choice) else verdicts(need, snapshot)[0].message


ALL = GpuRequest(count=-1)


def test_all_is_every_device_of_the_node_that_suits() -> None:
    other = GpuFacts(index=2, model="NVIDIA T4")
    there = node(CARD, replace(CARD, index=1), other)
    assert ask(ALL, there) == (0, 1, 2)
    assert ask(replace(ALL, models=("l4",)), there) == (0, 1)


def test_all_waits_until_every_device_is_free() -> None:
    there = node(CARD, replace(CARD, index=1))
    said = ask(ALL, there, held(GpuRequest(share=0.1), 1))
    assert said == "has 1 of 2 GPU(s) free, and all are asked for"


def test_all_of_no_device_is_too_few() -> None:
    assert ask(ALL, node()) == "has no GPU"


def test_who_holds_all_leaves_no_share() -> None:
    said = ask(GpuRequest(encoders=1), node(CARD), held(ALL, 0))
    assert said == "has no GPU with enough of it left: what would suit is held whole"


def test_encoders_are_counted() -> None:
    request = GpuRequest(encoders=5)
    assert ask(request, node(CARD)) == (0,)
    assert ask(request, node(CARD), held(request, 0)) == (
        "has no GPU with enough of it left: GPU 0 lacks 2 NVENC sessions"
    )


@pytest.mark.parametrize(
    ("request_", "fact"),
    [(GpuRequest(encoders=1), "encoders"), (GpuRequest(vram_bytes=1), "memory_bytes")],
)
def test_what_is_unknown_of_a_card_is_not_sold_and_said(request_: GpuRequest, fact: str) -> None:
    said = ask(request_, node(GpuFacts(index=0, model="Riva 128")))
    assert isinstance(said, str)
    assert "of Riva 128: unknown" in said
    assert f"declare `{fact}` of `gpus` with --facts" in said
