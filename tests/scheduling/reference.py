"""Where a pipeline fits, worked out node by node with nothing but Python: what the columns of
`gamepipe.scheduling` must agree with."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from gamepipe.model.gpu import ALL
from gamepipe.model.node import GameNode, GpuFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Match, Resources
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Capacity


class World:
    """Nodes and what is held on them."""

    def __init__(self, nodes: Iterable[GameNode], capacity: Capacity) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.capacity = capacity
        self.held: dict[str, Allocation] = {}
        self.ms: dict[str, float] = {}
        """Latency of nodes to the one region of players."""

    def on(self, node_id: str) -> list[Allocation]:
        return [held for held in self.held.values() if held.node_id == node_id]

    def fits(self, need: Need) -> list[str]:
        """Ids of the nodes that nothing stands in the way of."""
        return sorted(node.id for node in self.nodes.values() if self._fits(node, need))

    def _fits(self, node: GameNode, need: Need) -> bool:
        return (
            _is_open(node)
            and _is_asked_for(node, need)
            and need.features <= set(node.facts.features)
            and not self._port_taken(node, need)
            and self._has_room(node, need.resources)
            and self._is_near(node, need)
            and not self._is_crowded(node, need)
        )

    # --- what is left ---------------------------------------------------------------------------

    def left(self, node: GameNode) -> tuple[Fraction, Fraction, Fraction]:
        """Cores, memory, disk."""
        by, facts = self.capacity, node.facts
        cores = exact(facts.cpu) * exact(by.cpu_factor) - exact(by.reserve_cpu)
        memory = facts.memory_bytes * exact(by.memory_factor) - by.reserve_memory_bytes
        disk = facts.disk_bytes * exact(by.disk_factor) - by.reserve_disk_bytes
        held = [allocation.resources for allocation in self.on(node.id)]
        return (
            max(cores, Fraction(0)) - sum(exact(one.cpu) for one in held),
            max(memory, Fraction(0)) - sum(one.memory_bytes for one in held),
            max(disk, Fraction(0)) - sum(one.disk_bytes for one in held),
        )

    def device_left(self, node: GameNode, gpu: GpuFacts) -> tuple[Fraction, Fraction, Fraction]:
        """Compute, VRAM and encoders, for shares."""
        by, held = self.capacity, self._shares(node, gpu)
        return (
            exact(by.share_factor) - sum(exact(one.share) for one in held),
            gpu.memory_bytes * exact(by.vram_factor) - sum(one.vram_bytes for one in held),
            gpu.encoders * exact(by.encoder_factor) - sum(one.encoders for one in held),
        )

    def holders(self, node: GameNode, gpu: GpuFacts) -> list[Allocation]:
        """Who holds the device for itself."""
        held = [one for one in self.on(node.id) if gpu.index in one.gpu_devices]
        return [one for one in held if one.resources.gpu.count]

    def _shares(self, node: GameNode, gpu: GpuFacts) -> list[GpuRequest]:
        held = [one for one in self.on(node.id) if gpu.index in one.gpu_devices]
        return [one.resources.gpu for one in held if not one.resources.gpu.count]

    # --- rules ----------------------------------------------------------------------------------

    def _port_taken(self, node: GameNode, need: Need) -> bool:
        taken = {port for held in self.on(node.id) for port in held.host_ports}
        return bool(taken & set(need.host_ports))

    def _has_room(self, node: GameNode, asked: Resources) -> bool:
        wanted = (exact(asked.cpu), asked.memory_bytes, asked.disk_bytes)
        if any(want and left < want for want, left in zip(wanted, self.left(node), strict=True)):
            return False
        gpus = [gpu for gpu in node.facts.gpus if suits(gpu, asked.gpu)]
        if asked.gpu.is_empty:
            return True
        if not asked.gpu.count:
            return any(self.has_share(node, gpu, asked.gpu) for gpu in gpus)
        free = sum(1 for gpu in gpus if self.is_free(node, gpu))
        return free >= (max(len(gpus), 1) if asked.gpu.count == ALL else asked.gpu.count)

    def is_free(self, node: GameNode, gpu: GpuFacts) -> bool:
        return not self.holders(node, gpu) and not self.is_shared(node, gpu)

    def is_shared(self, node: GameNode, gpu: GpuFacts) -> bool:
        return bool(self._shares(node, gpu))

    def has_share(self, node: GameNode, gpu: GpuFacts, asked: GpuRequest) -> bool:
        wanted = (exact(asked.share), asked.vram_bytes, asked.encoders)
        left = self.device_left(node, gpu)
        room = all(want <= have for want, have in zip(wanted, left, strict=True))
        return room and not self.holders(node, gpu)

    def _is_near(self, node: GameNode, need: Need) -> bool:
        limit, region = need.placement.max_latency_ms, need.placement.player_region
        return limit is None or not region or self.ms.get(node.id, float("inf")) <= limit

    def _is_crowded(self, node: GameNode, need: Need) -> bool:
        wanted = need.placement
        if not wanted.spread or wanted.spread_most is None:
            return False
        here = value_of(wanted.spread, node)
        count = 0
        for held in self.held.values():
            there = self.nodes[held.node_id]
            group = held.tenant if wanted.spread_by == "tenant" else held.template
            count += group == need.group and value_of(wanted.spread, there) == here
        return count >= wanted.spread_most


def exact(number: float) -> Fraction:
    """The number that people wrote."""
    return Fraction(str(number))


def suits(gpu: GpuFacts, asked: GpuRequest) -> bool:
    return not asked.models or any(part.lower() in gpu.model.lower() for part in asked.models)


def _is_open(node: GameNode) -> bool:
    normal = node.state is NodeState.NORMAL and node.connectivity is Connectivity.ONLINE
    return normal and not node.stop_orders and not node.unaccounted


def _is_asked_for(node: GameNode, need: Need) -> bool:
    wanted = need.placement
    return (
        wanted.node in ("", node.id)
        and wanted.region in ("", node.location.region)
        and wanted.zone in ("", node.location.zone)
        and all(holds(match, value_of(match.key, node)) for match in wanted.match)
        and not any(holds(match, value_of(match.key, node)) for match in wanted.forbid)
    )


def value_of(key: str, node: GameNode) -> str | None:
    facts = {
        "id": node.id,
        "node": node.id,
        "os": node.facts.os,
        "kernel": node.facts.kernel,
        "architecture": node.facts.architecture,
        "region": node.location.region,
        "zone": node.location.zone,
    }
    return node.labels[key] if key in node.labels else facts.get(key) or None


def holds(match: Match, value: str | None) -> bool:
    if match.op in ("exists", "not exists"):
        return (value is not None) == (match.op == "exists")
    if match.op in ("in", "not in"):
        return (value in match.values) == (match.op == "in")
    return value is not None and _is_beyond(value, match.op, match.values)


def _is_beyond(value: str, op: str, values: Sequence[str]) -> bool:
    try:
        left, right = float(value), float(values[0])
    except ValueError:
        return False
    return left > right if op == ">" else left < right
