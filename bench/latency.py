"""`python -m bench.latency`: how far from the best node players are placed, in milliseconds.

A synthetic world: data centres with nodes, regions of players, all of them somewhere on the globe.
A round trip takes the distance at the speed of light in fibre, and the access of both ends; some
routes take a detour: that of a region to a data centre, or (`--routes node`) to a single node,
which nothing can foresee. Only a share of the pairs of region and node was ever probed,
a few noisy times each, one probe in ten an outlier. Players come; each policy places them on one
of some nodes that happen to be free. Regret: how much longer the round trip is than that of the
best of those nodes, which an oracle knows.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from gamepipe.model import latency
from gamepipe.model.latency import MeasuredWay, Probe
from gamepipe.model.node import GameNode, Location, NodeFacts
from gamepipe.scheduling.distance import along_surface, on_globe
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import Latencies
from gamepipe.scheduling.network import network_of
from gamepipe.scheduling.probe import kept, measured_by, sample_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FACTS = NodeFacts(cpu=8, memory_bytes=1 << 35, disk_bytes=1 << 40)
Array = Any


@dataclass(frozen=True, kw_only=True)
class World:
    nodes: tuple[GameNode, ...]
    regions: dict[str, tuple[float, float]]
    rtt: Array
    """[region, node], true, in ms."""
    distance: Array
    """[region, node], along the great circle."""


def make_world(options: argparse.Namespace, rng: np.random.Generator) -> World:
    sites = _spots(options.sites, rng)
    regions = _spots(options.regions, rng)
    site_of = rng.integers(0, options.sites, options.nodes)
    distance = _distances(regions, sites)[:, site_of]
    detour = _detours(distance, options.detours, rng)
    if options.routes == "site":
        first = np.array([int((site_of == site).argmax()) for site in range(options.sites)])
        detour = detour[:, first[site_of]]
    stretch = rng.uniform(1.1, 1.5)
    of_regions = rng.gamma(2.0, 4.0, (options.regions, 1))
    of_nodes = rng.gamma(1.0, 6.0, options.nodes)
    nodes = tuple(
        GameNode(id=f"n{row:05}", facts=FACTS, location=_location(sites[site], int(site)))
        for row, site in enumerate(site_of)
    )
    names = {f"r{row}": (float(lat), float(lon)) for row, (lat, lon) in enumerate(regions)}
    rtt = stretch * distance + detour + of_regions + of_nodes
    return World(nodes=nodes, regions=names, rtt=rtt, distance=distance)


def _detours(distance: Array, share: float, rng: np.random.Generator) -> Array:
    long = rng.uniform(0.2, 1.0, distance.shape) * distance + rng.uniform(10, 60, distance.shape)
    return np.where(rng.random(distance.shape) < share, long, 0.0)


def _spots(count: int, rng: np.random.Generator) -> Array:
    """Around a few centres, as people live."""
    centres = np.array([(50, 8), (40, -90), (35, 120), (-20, -50), (20, 78), (52, 0), (37, -120)])
    around = centres[rng.integers(0, len(centres), count)]
    return around + rng.normal(0, 8, (count, 2))


def _distances(here: Array, there: Array) -> Array:
    points = on_globe(here)[:, None, :] - on_globe(there)[None, :, :]
    return along_surface(np.linalg.norm(points, axis=2))


def _location(spot: Array, site: int) -> Location:
    return Location(zone=f"z{site}", latitude=float(spot[0]), longitude=float(spot[1]))


def probe(world: World, share: float, rng: np.random.Generator) -> list[MeasuredWay]:
    """So many of the pairs, a few probes each within the last hours."""
    chosen = rng.random(world.rtt.shape) < share
    names = list(world.regions)
    return [
        _way(names[region], world.nodes[node].id, world.rtt[region, node], rng)
        for region, node in np.argwhere(chosen)
    ]


def _way(region: str, node_id: str, rtt: float, rng: np.random.Generator) -> MeasuredWay:
    count = int(rng.integers(1, 8))
    noise = rng.exponential(0.04 * rtt + 1, count)
    noise += np.where(rng.random(count) < 0.1, rng.uniform(50, 400, count), 0.0)
    source = latency.region(region)
    samples = [
        sample_of(Probe(source=source, node_id=node_id, rtt_ms=rtt + more, at=_ago(rng)))
        for more in noise
    ]
    measured = measured_by(kept(samples), in_all=count)
    return MeasuredWay(source=source, node_id=node_id, measured=measured)


def _ago(rng: np.random.Generator) -> datetime:
    return NOW - timedelta(hours=float(rng.uniform(0, 12)))


def figures_of(world: World, ways: Sequence[MeasuredWay]) -> tuple[Array, Array]:
    """[region, node]: what the scheduler would go by, and its plain estimate."""
    probes: dict[str, dict[str, Any]] = {}
    for way in ways:
        probes.setdefault(way.source.name, {})[way.node_id] = way.measured
    network = network_of(ways, world.nodes, world.regions, now=NOW)
    known = Latencies(regions=world.regions, probes=probes, network=network, now=NOW)
    fleet = Fleet(world.nodes)
    found = [known.toward(region, fleet) for region in world.regions]
    return np.array([one.cautious_ms for one in found]), np.array([one.ms for one in found])


def regrets(world: World, by: Array, players: int, free: int, rng: np.random.Generator) -> Array:
    """Of each player; `by`: the policy takes the free node with the least of it."""
    region = rng.integers(0, len(world.regions), players)
    nodes = rng.integers(0, len(world.nodes), (players, free))
    rtt, figure = world.rtt[region[:, None], nodes], by[region[:, None], nodes]
    rows = np.arange(players)
    return rtt[rows, figure.argmin(axis=1)] - rtt.min(axis=1)


def run(options: argparse.Namespace, share: float) -> dict[str, dict[str, float]]:
    """Mean and p95 over all seeds of each policy, on the same players."""
    all_: dict[str, list[Array]] = {"ours": [], "nearest": [], "random": []}
    off = []
    for seed in range(options.seeds):
        rng = np.random.default_rng((seed, 1))
        world = make_world(options, rng)
        cautious, plain = figures_of(world, probe(world, share, rng))
        off.append(np.abs(plain - world.rtt) / world.rtt)
        policies = {
            "ours": cautious,
            "nearest": world.distance,
            "random": rng.random(world.rtt.shape),
        }
        for name, by in policies.items():
            players = np.random.default_rng((seed, 2))
            all_[name].append(regrets(world, by, options.players, options.free, players))
    report = {name: _summary(np.concatenate(found)) for name, found in all_.items()}
    report["ours"]["median_error_share"] = float(np.median(np.concatenate(off)))
    return report


def _summary(found: Array) -> dict[str, float]:
    return {"mean_ms": float(found.mean()), "p95_ms": float(np.percentile(found, 95))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--regions", type=int, default=30)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=600)
    parser.add_argument("--players", type=int, default=5000)
    parser.add_argument("--free", type=int, default=60, help="nodes with room for a player")
    parser.add_argument("--detours", type=float, default=0.25, help="share of routes with one")
    parser.add_argument("--routes", choices=["site", "node"], default="site", help="of a detour")
    parser.add_argument("--measured", type=float, nargs="+", default=[0.0, 0.1, 0.3, 0.6])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    report = {share: run(options, share) for share in options.measured}
    _print(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _print(report: dict[float, dict[str, dict[str, float]]]) -> None:
    print("regret in ms, mean / p95    ours             nearest          random       of nearest")
    for share, by in report.items():
        cells = [
            f"{by[name]['mean_ms']:6.1f} / {by[name]['p95_ms']:6.1f}"
            for name in ("ours", "nearest", "random")
        ]
        ratio = by["ours"]["mean_ms"] / by["nearest"]["mean_ms"]
        print(f"  {share:4.0%} of pairs measured  {'  '.join(cells)}   {ratio:8.2f}")


if __name__ == "__main__":
    main()
