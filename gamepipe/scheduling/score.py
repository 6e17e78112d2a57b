"""What each node would cost: a sum of named terms. docs/scheduling.md says what a unit of each is.

No cost depends on which other nodes there are, so one that is not chosen can go without changing
the choice; only `spread` depends on what runs elsewhere.
"""

from collections.abc import Callable, Collection

import numpy as np

from gamepipe.scheduling.crowd import crowd
from gamepipe.scheduling.fleet import CPU, MEMORY, Fleet
from gamepipe.scheduling.label import matches
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Some

LARGE_NODE = (128.0 * MILLIONTHS, float(1 << 40))
"""Cores and memory by which `packing` measures what is left."""
LARGE_GPUS = 8
LATENCY_UNIT_MS = 100.0
UNKNOWN_LATENCY = 3.0
"""A node about which nothing is known counts as if it were far away."""
AVOIDED = 1_000.0
"""A node that lost this pipeline before: only when nothing else fits."""


def terms(
    need: Need, snapshot: Snapshot, rows: Some = ALL_ROWS, *, only: Collection[str] = ()
) -> dict[str, Numbers]:
    """By name, the weighted cost of each term that has something to say about this need."""
    found = {}
    weights = snapshot.policy.weights_for(need.template)
    for name in only or _TERMS:
        make = _TERMS[name]
        weight = 1.0 if name == "avoided" else getattr(weights, name)
        cost = make(need, snapshot, rows) if weight else None
        if cost is not None:
            found[name] = weight * cost
    return found


def crowding(need: Need, snapshot: Snapshot) -> dict[str, Numbers]:
    """Terms that look at other nodes: whatever is placed anywhere may change them."""
    weight = snapshot.policy.weights_for(need.template).spread
    if not need.placement.spread or not weight:
        return {}
    return {"spread": weight * crowd(need, snapshot.fleet)}


def _fragmentation(need: Need, snapshot: Snapshot, rows: Some) -> Numbers:
    return snapshot.fragmentation.growth(need.resources, rows)


def _packing(_: Need, snapshot: Snapshot, rows: Some) -> Numbers:
    """What is free now: little is good, for what is large needs a node that is empty."""
    left = snapshot.fleet.left[rows]
    cores, memory = (left[:, kind] / LARGE_NODE[kind] for kind in (CPU, MEMORY))
    return snapshot.fleet.devices.left[rows].sum(axis=1) / LARGE_GPUS + cores / 2 + memory / 4


def _undeclared(need: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    """Who says no CPU is counted against none, so those are spread by their number per core."""
    if need.resources.cpu:
        return None
    fleet = snapshot.fleet
    return fleet.undeclared[rows] / np.maximum(fleet.total[rows, CPU] / MILLIONTHS, 1)


def _load(_: Need, snapshot: Snapshot, rows: Some) -> Numbers:
    return snapshot.fleet.load[rows]


def _latency(need: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    region = need.placement.player_region
    if not region:
        return None
    return np.nan_to_num(
        snapshot.toward(region).cautious_ms[rows] / LATENCY_UNIT_MS, nan=UNKNOWN_LATENCY
    )


def _locality(need: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    """The share of the images that the node would have to pull."""
    if not need.images:
        return None
    return np.mean([_lacking(snapshot.fleet, image, rows) for image in need.images], axis=0)


def _lacking(fleet: Fleet, image: str, rows: Some) -> Mask:
    return fleet.that(f"lacks image {image}", lambda node: image not in node.facts.images, rows)


def _failures(_: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    """From 0 towards 1 with each recent failure."""
    if snapshot.failures is None:
        return None
    return 1 - np.exp2(-snapshot.failures[rows])


def _preference(need: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    if not need.placement.prefer:
        return None
    fleet, wishes = snapshot.fleet, need.placement.prefer
    return np.sum([wish.weight * ~matches(fleet, wish.match, rows) for wish in wishes], axis=0)


def _avoided(need: Need, snapshot: Snapshot, rows: Some) -> Numbers | None:
    lost = [row for node in need.avoid if (row := snapshot.fleet.row_of.get(node)) is not None]
    if not lost:
        return None
    cost = np.zeros(len(snapshot.fleet))
    cost[lost] = AVOIDED
    return cost[rows]


_TERMS: dict[str, Callable[[Need, Snapshot, Some], Numbers | None]] = {
    "avoided": _avoided,
    "fragmentation": _fragmentation,
    "packing": _packing,
    "undeclared": _undeclared,
    "load": _load,
    "latency": _latency,
    "locality": _locality,
    "failures": _failures,
    "preference": _preference,
}

OF_HELD = ("packing", "undeclared")
"""Terms that follow what is held on a node, as `fragmentation` does."""
OF_NODE = tuple(name for name in _TERMS if name not in (*OF_HELD, "fragmentation"))
"""Terms that stand while the node is what it is."""
