"""Where the nodes of a fleet are, as columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gamepipe.model.node import GameNode, Location
from gamepipe.scheduling.distance import NOWHERE, Spot, middle, on_globe
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.values import Numbers, Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Of every node, in the order of the fleet."""

    ids: tuple[str, ...]
    row_of: Mapping[str, int]
    points: Numbers
    """[n, 3] on the globe, in ms; NaN where it is not known."""
    sites: tuple[str, ...]
    """The different sites: nodes of one share their ways to everywhere. "" is none."""
    site: Rows
    """[n]: index into `sites`."""


def places_of(fleet: Fleet) -> Places:
    """Kept by the fleet until a node of it changes."""
    return fleet.column("places", _places)


def regions_of(fleet: Fleet) -> Mapping[str, Spot]:
    """The middle of the nodes that are located in each region, where nobody said another."""
    return fleet.column("middles of regions", lambda fleet: region_spots(fleet.nodes))


def region_spots(nodes: Iterable[GameNode]) -> dict[str, Spot]:
    found: dict[str, list[Spot]] = {}
    for node in nodes:
        spot = spot_of(node.location)
        if node.location.region and spot is not NOWHERE:
            found.setdefault(node.location.region, []).append(spot)
    middles = {name: middle(spots) for name, spots in found.items()}
    return {name: spot for name, spot in middles.items() if spot is not NOWHERE}


def spot_of(location: Location) -> Spot:
    """`NOWHERE` unless both are known."""
    if location.latitude is None or location.longitude is None:
        return NOWHERE
    return location.latitude, location.longitude


def site_of(location: Location) -> str:
    """A data centre: the zone, where one is named; else about ten kilometres; else the region."""
    if location.zone:
        return f"{location.region}/{location.zone}"
    if location.latitude is not None and location.longitude is not None:
        return f"{location.latitude:.1f},{location.longitude:.1f}"
    return location.region


def _places(fleet: Fleet) -> Places:
    codes: dict[str, int] = {}
    rows = [codes.setdefault(site_of(node.location), len(codes)) for node in fleet.nodes]
    spots = np.array([spot_of(node.location) for node in fleet.nodes]).reshape(-1, 2)
    return Places(
        ids=tuple(node.id for node in fleet.nodes),
        row_of=fleet.row_of,
        points=on_globe(spots),
        sites=tuple(codes),
        site=np.array(rows, dtype=np.int64),
    )
