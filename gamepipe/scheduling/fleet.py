"""A node with what is taken of it, derived from the live allocations; there are no counters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gamepipe.model.node import GameNode, GpuFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceUse:
    """What is taken of one GPU; `whole` excludes every share."""

    whole: bool = False
    vram_bytes: int = 0
    encoders: int = 0
    share: float = 0.0

    @property
    def is_free(self) -> bool:
        return not (self.whole or self.vram_bytes or self.encoders or self.share)

    def fits(self, request: GpuRequest, device: GpuFacts) -> bool:
        """Whether a share of this device is left for `request`."""
        return (
            not self.whole
            and self.vram_bytes + request.vram_bytes <= device.memory_bytes
            and self.encoders + request.encoders <= device.encoders
            and self.share + request.share <= 1.0 + 1e-9
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeUse:
    """One node of a snapshot."""

    node: GameNode
    allocations: tuple[Allocation, ...] = ()

    @property
    def cpu_free(self) -> float:
        return self.node.facts.cpu - sum(held.resources.cpu for held in self.allocations)

    @property
    def memory_free(self) -> int:
        used = sum(held.resources.memory_bytes for held in self.allocations)
        return self.node.facts.memory_bytes - used

    @property
    def disk_free(self) -> int:
        used = sum(held.resources.disk_bytes for held in self.allocations)
        return self.node.facts.disk_bytes - used

    @property
    def ports(self) -> frozenset[str]:
        return frozenset(port for held in self.allocations for port in held.host_ports)

    def device_uses(self) -> Mapping[int, DeviceUse]:
        """What is taken of every device, by its index."""
        held = [
            (device, allocation.resources.gpu)
            for allocation in self.allocations
            for device in allocation.gpu_devices
        ]
        return {
            gpu.index: _use([request for device, request in held if device == gpu.index])
            for gpu in self.node.facts.gpus
        }


def _use(requests: Sequence[GpuRequest]) -> DeviceUse:
    return DeviceUse(
        whole=any(request.count for request in requests),
        vram_bytes=sum(request.vram_bytes for request in requests),
        encoders=sum(request.encoders for request in requests),
        share=sum(request.share for request in requests),
    )


def with_allocation(fleet: Sequence[NodeUse], allocation: Allocation) -> tuple[NodeUse, ...]:
    """The snapshot with one more allocation."""
    return tuple(
        replace(use, allocations=(*use.allocations, allocation))
        if use.node.id == allocation.node_id
        else use
        for use in fleet
    )


def fleet_of(nodes: Iterable[GameNode], allocations: Iterable[Allocation]) -> tuple[NodeUse, ...]:
    """The snapshot, in the order of node ids."""
    held: dict[str, list[Allocation]] = {}
    for allocation in allocations:
        held.setdefault(allocation.node_id, []).append(allocation)
    return tuple(
        NodeUse(node=node, allocations=tuple(held.get(node.id, ())))
        for node in sorted(nodes, key=lambda node: node.id)
    )
