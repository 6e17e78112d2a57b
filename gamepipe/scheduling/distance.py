"""Where things are on the globe, and how long light in fibre takes between them.

Places are points on a sphere, in milliseconds of round trip: so measured ways can move them
(see `coordinate`). A straight line through the sphere is shorter than the way along its surface;
`bend` is the difference, so that two points that nothing has moved are their distance apart.
"""

import math
from collections.abc import Iterable

import numpy as np

from gamepipe.scheduling.values import Numbers

EARTH_KM = 6371.0
FIBRE_KM_PER_MS = 200.0
"""One way: two thirds of the speed of light."""
KM_PER_RTT_MS = FIBRE_KM_PER_MS / 2
EARTH_MS = EARTH_KM / KM_PER_RTT_MS
"""The radius, as round trip in fibre."""
Spot = tuple[float, float]
"""Latitude and longitude, in degrees."""
NOWHERE: Spot = (math.nan, math.nan)


def on_globe(spots: Numbers) -> Numbers:
    """[k, 3], in ms, of [k, 2] degrees; NaN stays."""
    latitude, longitude = np.radians(spots[..., 0]), np.radians(spots[..., 1])
    parts = (
        np.cos(latitude) * np.cos(longitude),
        np.cos(latitude) * np.sin(longitude),
        np.sin(latitude),
    )
    return EARTH_MS * np.stack(parts, axis=-1)


def along_surface(chord: Numbers) -> Numbers:
    """Round trip in fibre along the great circle, of the straight distance in ms."""
    return 2 * EARTH_MS * np.arcsin(np.clip(chord / (2 * EARTH_MS), 0.0, 1.0))


def bend(here: Numbers, there: Numbers) -> Numbers:
    """By how much the way along the surface is longer than the straight one; 0 where a place is not
    known."""
    chord = np.linalg.norm(here - there, axis=-1)
    return np.nan_to_num(along_surface(chord) - chord, nan=0.0)


def middle(spots: Iterable[Spot]) -> Spot:
    """The spot in the middle of others; `NOWHERE` of none, and of ones all around the globe."""
    found = list(spots)
    if not found:
        return NOWHERE
    x, y, z = on_globe(np.array(found)).mean(axis=0) / EARTH_MS
    if math.hypot(x, y, z) < 1e-6:
        return NOWHERE
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))
