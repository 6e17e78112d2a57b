"""Where made-up nodes stand and made-up players live."""

import math
from dataclasses import dataclass

EARTH_RADIUS_KM = 6_371.0
FIBRE_KM_PER_MS = 200.0
"""Light in glass, one way."""
DETOUR = 1.4
"""Cables are longer than great circles."""


@dataclass(frozen=True, slots=True)
class City:
    name: str
    latitude: float
    longitude: float
    players: float
    """How many of the requests come from there, relative to the others."""


CITIES = (
    City("frankfurt", 50.1, 8.7, 3.0),
    City("london", 51.5, -0.1, 3.0),
    City("virginia", 38.9, -77.4, 4.0),
    City("oregon", 45.6, -121.2, 2.0),
    City("sao-paulo", -23.5, -46.6, 2.0),
    City("mumbai", 19.1, 72.9, 2.0),
    City("singapore", 1.35, 103.8, 2.0),
    City("tokyo", 35.7, 139.7, 3.0),
    City("sydney", -33.9, 151.2, 1.0),
)
CITY_OF = {city.name: city for city in CITIES}


def distance_km(one: City, other: City) -> float:
    """Along the great circle (haversine)."""
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    turn = math.radians(other.longitude - one.longitude) / 2
    part = math.sin((south - north) / 2) ** 2
    part += math.cos(north) * math.cos(south) * math.sin(turn) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(part))


def round_trip_ms(players: City, node: City, access_ms: float) -> float:
    """What the network between them takes, and the last mile."""
    return 2 * DETOUR * distance_km(players, node) / FIBRE_KM_PER_MS + access_ms
