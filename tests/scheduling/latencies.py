"""Small worlds of players and nodes, for the tests of latencies."""

from collections.abc import Sequence
from datetime import timedelta

from gamepipe.model import latency as ends
from gamepipe.model.latency import Measured, MeasuredWay
from gamepipe.model.node import GameNode, Location, NodeFacts
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import SOURCES, Latencies
from gamepipe.scheduling.network import network_of
from gamepipe.scheduling.probe import Sample, kept, measured_by
from tests.store.shapes import NOW

FACTS = NodeFacts(cpu=8, memory_bytes=1 << 36, disk_bytes=1 << 40)
STOCKHOLM, FRANKFURT, VIRGINIA, SYDNEY = (59.3, 18.1), (50.1, 8.7), (39.0, -77.5), (-33.9, 151.2)
REGIONS = {"se": STOCKHOLM}


def node(node_id: str, spot: tuple[float, float] | None = None, zone: str = "") -> GameNode:
    latitude, longitude = spot or (None, None)
    location = Location(zone=zone, latitude=latitude, longitude=longitude)
    return GameNode(id=node_id, facts=FACTS, location=location)


def measured(rtt_ms: float, *, age: timedelta = timedelta(), probes: int = 10) -> Measured:
    seconds = NOW.timestamp() - age.total_seconds()
    samples = [Sample(at=seconds - 60 * n, rtt_ms=rtt_ms) for n in range(probes)]
    return measured_by(kept(samples), in_all=probes)


def known(
    nodes: Sequence[GameNode],
    ways: dict[tuple[str, str], Measured],
    regions: dict[str, tuple[float, float]] = REGIONS,
    *,
    between: Sequence[MeasuredWay] = (),
) -> Latencies:
    """With everything that follows from what was measured."""
    measured_ways = [
        MeasuredWay(source=ends.region(region), node_id=node_id, measured=one)
        for (region, node_id), one in ways.items()
    ]
    probes: dict[str, dict[str, Measured]] = {}
    for (region, node_id), one in ways.items():
        probes.setdefault(region, {})[node_id] = one
    network = network_of([*measured_ways, *between], nodes, regions, now=NOW)
    return Latencies(regions=regions, probes=probes, network=network, now=NOW)


def toward(latencies: Latencies, nodes: Sequence[GameNode], region: str = "se") -> dict[str, str]:
    found = latencies.toward(region, Fleet(nodes))
    return {one.id: SOURCES[found.source[row]] for row, one in enumerate(nodes)}


def ms_of(latencies: Latencies, nodes: Sequence[GameNode], region: str = "se") -> list[float]:
    return [float(ms) for ms in latencies.toward(region, Fleet(nodes)).ms]
