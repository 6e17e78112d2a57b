"""Detours: by how much longer than predicted the ways from a region to a data centre are.

Routes lead from one network to another, so the nodes of a site share them: what was measured to one
of its nodes says something of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gamepipe.model.latency import NODE, REGION, Endpoint
from gamepipe.scheduling.coordinate import Coordinates, Ways
from gamepipe.scheduling.distance import NOWHERE, Spot, bend, on_globe
from gamepipe.scheduling.probe import weighted_median
from gamepipe.scheduling.values import Numbers

PRIOR_WEIGHT = 0.5
"""How much of a measured way it takes to believe in half of a detour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detour:
    """From one region to one site."""

    extra_ms: float
    """To add to what the coordinates predict; below zero for a short cut."""
    usual_ms: float
    """For nodes that the coordinates say nothing of."""
    weight: float
    """Of the measured ways behind it."""
    misfit: float
    """Sum of their squared errors beside it, as shares."""


Detours = Mapping[tuple[str, str], Detour]
"""By region and site."""


def detours(
    ways: Ways, found: Coordinates, spots: Mapping[Endpoint, Spot], sites: Mapping[str, str]
) -> dict[tuple[str, str], Detour]:
    """Of each region and site with a measured way between them; `sites` by node id."""
    groups: dict[tuple[str, str], list[int]] = {}
    for way, (a, b) in enumerate(zip(ways.a, ways.b, strict=True)):
        ends = dict((ways.ends[a], ways.ends[b]))
        site = sites.get(ends.get(NODE, ""), "")
        if REGION in ends and site:
            groups.setdefault((ends[REGION], site), []).append(way)
    predicted = _predicted(ways, found, spots)
    return {
        key: _detour(ways.ms[among], predicted[among], ways.weight[among])
        for key, among in groups.items()
    }


def _predicted(ways: Ways, found: Coordinates, spots: Mapping[Endpoint, Spot]) -> Numbers:
    globe = on_globe(np.array([spots.get(end, NOWHERE) for end in ways.ends]).reshape(-1, 2))
    globe *= found.stretch
    point = np.where(found.located[:, None], globe + found.shift, found.shift)
    length = np.linalg.norm(point[ways.a] - point[ways.b], axis=1)
    bent = bend(globe[ways.a] / found.stretch, globe[ways.b] / found.stretch) * found.stretch
    return length + bent + found.height[ways.a] + found.height[ways.b]


def _detour(ms: Numbers, predicted: Numbers, weights: Numbers) -> Detour:
    weight = float(weights.sum())
    extra = weighted_median(list(ms - predicted), list(weights)) * weight / (weight + PRIOR_WEIGHT)
    wrong = (ms - predicted - extra) / np.maximum(ms, 10.0)
    return Detour(
        extra_ms=float(extra),
        usual_ms=float(weighted_median(list(ms), list(weights))),
        weight=weight,
        misfit=float((weights * wrong**2).sum()),
    )
