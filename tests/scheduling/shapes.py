"""Small nodes, needs and allocations for the tests of placement."""

from dataclasses import replace
from typing import Any

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Match, PlacementRequest, Resources
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.snapshot import Snapshot
from tests.store.shapes import NOW

GIB = 1 << 30
SSD = Match(key="disk", op="in", values=("ssd",))


def a_node(node_id: str, *, gpus: int = 0, model: str = "T4", **changes: Any) -> GameNode:
    """8 cores, 64 GiB of memory, 1 TiB of disk; `changes` of the node or of its facts."""
    devices = tuple(
        GpuFacts(index=index, model=model, memory_bytes=16 * GIB, encoders=3)
        for index in range(gpus)
    )
    plain = NodeFacts(
        cpu=8,
        memory_bytes=64 * GIB,
        disk_bytes=1 << 40,
        gpus=devices,
        features=("command", "container"),
    )
    of_facts = {name: changes.pop(name) for name in ("cpu", "features", "gpus") if name in changes}
    return replace(GameNode(id=node_id, facts=replace(plain, **of_facts)), **changes)


def a_need(
    *, cpu: float = 0, memory: int = 0, gpu: GpuRequest | None = None, **placement: Any
) -> Need:
    """`placement`: fields of the request, and of the need itself."""
    of_need = {
        name: placement.pop(name)
        for name in ("features", "host_ports", "template", "tenant")
        if name in placement
    }
    resources = Resources(cpu=cpu, memory_bytes=memory, gpu=gpu or GpuRequest())
    return Need(resources=resources, placement=PlacementRequest(**placement), **of_need)


def holding(node_id: str, number: int = 1, **changes: Any) -> Allocation:
    resources = Resources(cpu=changes.pop("cpu", 0.0), gpu=changes.pop("gpu", GpuRequest()))
    plain = Allocation(
        pipeline_id="other",
        generation=number,
        node_id=node_id,
        resources=resources,
        created_at=NOW,
    )
    return replace(plain, **changes)


def a_snapshot(*nodes: GameNode, held: tuple[Allocation, ...] = ()) -> Snapshot:
    return Snapshot(fleet=Fleet(nodes, held))
