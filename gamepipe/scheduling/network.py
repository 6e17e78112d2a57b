"""What all measured ways together say of those that nobody measured. docs/latency.md tells how."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from gamepipe.model import latency
from gamepipe.model.latency import Endpoint, Measured, MeasuredWay
from gamepipe.model.node import GameNode
from gamepipe.scheduling.coordinate import NOTHING, Coordinates, fit, ways_of
from gamepipe.scheduling.detour import Detour, Detours, detours
from gamepipe.scheduling.distance import NOWHERE, Spot
from gamepipe.scheduling.place import region_spots, site_of, spot_of
from gamepipe.scheduling.probe import FORGOTTEN, faded


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Coordinates, and the detours beside them."""

    coordinates: Coordinates = NOTHING
    detours: Detours = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        found = self.coordinates
        numbers = np.column_stack((found.shift, found.height, found.error, found.located))
        return {
            "stretch": found.stretch,
            "ends": [list(end) for end in found.index],
            "numbers": numbers.round(6).tolist(),
            "detours": [
                [*key, one.extra_ms, one.usual_ms, one.weight, one.misfit]
                for key, one in self.detours.items()
            ],
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Network":
        """What `document` wrote."""
        numbers = np.array(document["numbers"], dtype=float).reshape(-1, 6)
        ends = {Endpoint(*end): place for place, end in enumerate(document["ends"])}
        coordinates = Coordinates(
            index=ends,
            shift=numbers[:, :3],
            height=numbers[:, 3],
            error=numbers[:, 4],
            located=numbers[:, 5] > 0,
            stretch=float(document["stretch"]),
        )
        found = {
            (str(region), str(site)): Detour(
                extra_ms=extra, usual_ms=usual, weight=weight, misfit=misfit
            )
            for region, site, extra, usual, weight, misfit in document["detours"]
        }
        return cls(coordinates=coordinates, detours=found)


def network_of(
    measured: Iterable[MeasuredWay],
    nodes: Iterable[GameNode],
    regions: Mapping[str, Spot],
    *,
    now: datetime,
) -> Network:
    """A function of what was measured and where things are; probes that are forgotten do not
    count."""
    there = list(nodes)
    ways = ways_of(
        [
            (way.source, latency.node(way.node_id), way.measured.rtt_ms, weight)
            for way in measured
            if (weight := trust(way.measured, now)) > 0
        ]
    )
    spots = spots_of(there, regions)
    coordinates = fit(ways, spots)
    sites = {node.id: site_of(node.location) for node in there}
    return Network(coordinates=coordinates, detours=detours(ways, coordinates, spots, sites))


def spots_of(nodes: Iterable[GameNode], regions: Mapping[str, Spot]) -> dict[Endpoint, Spot]:
    """Of nodes and regions that have one; what somebody said of a region counts before the middle
    of its nodes."""
    there = list(nodes)
    spots = {latency.node(node.id): spot_of(node.location) for node in there}
    for name, spot in (region_spots(there) | dict(regions)).items():
        spots[latency.region(name)] = spot
    return {end: spot for end, spot in spots.items() if spot is not NOWHERE}


def trust(measured: Measured, now: datetime) -> float:
    """0..1 by how many probes there were and how old they are."""
    age = now - measured.last_at
    if age > FORGOTTEN:
        return 0.0
    weight = measured.weight * faded(age.total_seconds())
    return weight / (weight + 1)
