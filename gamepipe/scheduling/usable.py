"""What of the devices of one node the fleet's work could use, as `Fragmentation` says it of many:
for one node plain numbers take less time than columns.

All that goes in is in whole steps, so the sums are exact and both say the very same.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import accumulate
from math import floor, isfinite
from typing import NamedTuple

import numpy as np

from gamepipe.model.gpu import ALL
from gamepipe.scheduling.mix import Profile
from gamepipe.scheduling.unit import LEFT_STEP
from gamepipe.scheduling.values import Numbers

TIMES_STEP = 2.0**-10
"""Of how many requests the rest of a node carries."""
KEPT = 4_096
"""States of nodes of which it is remembered what is usable."""
WEIGHT_STEP = 2.0**-18
"""Of the weight of a class. The steps of a weight, of requests and of what is left of a device make
48 bits: sums over 32 devices keep within the 53 of a number."""


class _Class(NamedTuple):
    """Requests of one class on nodes of one kind."""

    part: float
    """Of a device."""
    devices: int
    """Whole ones; 0 for a part of one, `ALL` for all."""
    weight: float
    per_unit: tuple[tuple[int, float], ...]
    """(what, requests that a unit of it carries), of what the class asks for."""


class UsableOfOne:
    """Of one profile."""

    def __init__(self, profile: Profile, parts: Numbers) -> None:
        """`parts`: [kind, m], in steps."""
        weights, counts = weights_of(profile).tolist(), profile.counts.tolist()
        per_unit = [
            tuple((what, 1 / amount) for what, amount in enumerate(amounts) if amount)
            for amounts in profile.amounts.tolist()
        ]
        kinds = [
            sorted(
                _Class(*one)
                for one in zip(row, counts, weights, per_unit, strict=True)
                if isfinite(one[0])
            )
            for row in parts.tolist()
        ]
        self.of = lru_cache(KEPT)(partial(_usable, kinds))


def _usable(
    kinds: Sequence[Sequence[_Class]],
    left: Sequence[float],
    spare: Sequence[int],
    kind: int,
    there: int,
) -> float:
    """GPUs. Nodes that are alike are worked out once: what a choice left of one, too.

    Args:
        kinds: the classes that nodes of each kind serve, those with the smallest part first.
        left: of each device, 0..1.
        spare: of cores, memory and disk.
        kind: of the node; -1: it has no device.
        there: devices of the node.
    """
    ordered = sorted(left, reverse=True)
    before = list(accumulate(ordered, initial=0.0))
    able, usable = len(ordered), 0.0
    ordered.append(0.0)
    for part, devices, weight, per_unit in kinds[kind]:
        while able and ordered[able - 1] < part:
            able -= 1
        if not able:
            break
        if devices in (0, 1):
            served = _carried(able, per_unit, spare)
            whole = int(served)
            usable += weight * (before[whole] + (served - whole) * ordered[whole])
        else:
            size = max(there, 1) if devices == ALL else devices
            usable += weight * _carried(able // size, per_unit, spare) * size
    return usable


def _carried(wanted: int, per_unit: Sequence[tuple[int, float]], spare: Sequence[int]) -> float:
    """How many of so many requests the rest of the node carries; parts of one count only behind a
    first."""
    times: float = wanted
    for what, carries in per_unit:
        carried = spare[what] * carries
        times = carried if carried < times else times
    if times == wanted:
        return wanted
    return floor(times / TIMES_STEP) * TIMES_STEP if times >= 1 else 0.0


def weights_of(profile: Profile) -> Numbers:
    """[m]"""
    return np.rint(profile.weights / WEIGHT_STEP) * WEIGHT_STEP


def parts_in_steps(parts: Numbers) -> Numbers:
    """A step less than is asked for, as `left` is rounded; but a step at least, so that a device of
    which nothing is left serves nobody."""
    return np.maximum(np.floor(parts / LEFT_STEP) - 1, 1) * LEFT_STEP
