"""Network coordinates: every place is a point in space with a height, and the way between two of
them takes their distance and both heights. The height is what a place needs to get to the network
at all (an access line, a congested uplink).

After Vivaldi (Dabek, Cox, Kaashoek, Morris: "Vivaldi: A Decentralized Network Coordinate System",
SIGCOMM 2004): each measured way is a spring that pulls or pushes its two ends. There every node
moves itself as probes come; here all of them are relaxed together, from the same start each time,
so the result depends on nothing but what was measured. What is located starts where it is on the
globe, and a spring holds it there; so a way of which nothing is known takes as long as its distance
says, and few probes already correct it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gamepipe.model.latency import Endpoint
from gamepipe.scheduling.distance import NOWHERE, Spot, bend, on_globe
from gamepipe.scheduling.values import Mask, Numbers, Rows

ACCESS_MS = 4.0
"""Height of a place that nobody measured: of both ends, 8 ms of a round trip."""
ROUNDS = 80
STEP = 0.25
"""Of a spring's force, as in Vivaldi (c_c): its two ends move in space and in height."""
LOCATED_ERROR, UNLOCATED_ERROR = 0.3, 1.0
"""Of a prediction, as a share of it, before anything is measured."""
PRIOR_SAMPLES = 3.0
"""How many probes it takes to believe as much in them as in what was assumed."""
HOLD, HOLD_HEIGHT, HOLD_NOWHERE = 3.0, 0.5, 0.01
"""Springs to the place on the globe, to the usual height, and of what is not located."""
TOLERANCE_MS, TOLERANCE_SHARE = 3.0, 0.05
"""A spring bends so far for nothing: measured ways are no exact distances."""
USUAL_STRETCH, STRETCH_PRIOR = 1.4, 10.0
"""Of routes over great circles, and how many measured ways it takes to doubt it."""
_SHORT_MS = 2.0
ROBUST = 1.0
"""Beyond so many tolerances a spring pulls no harder: a detour is no reason to move a place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ways:
    """Measured ways between endpoints, by index; each pair in one order, whoever asked whom."""

    ends: tuple[Endpoint, ...]
    a: Rows
    b: Rows
    ms: Numbers
    weight: Numbers
    """0..1: how far the figure is to be believed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Coordinates:
    """Of endpoints; those that are not in `index` were never measured."""

    index: Mapping[Endpoint, int]
    shift: Numbers
    """[k, 3], from the place on the globe; of what is not located, from the middle of the earth."""
    height: Numbers
    """[k], in ms."""
    error: Numbers
    """[k]: of predictions from or to there, as a share of them."""
    located: Mask
    """[k]: whether it was, when this was found."""
    stretch: float = USUAL_STRETCH
    """How much longer routes are than great circles, all over the fleet."""


NOTHING = Coordinates(
    index={},
    shift=np.zeros((0, 3)),
    height=np.zeros(0),
    error=np.zeros(0),
    located=np.zeros(0, dtype=bool),
)


def ways_of(measured: Sequence[tuple[Endpoint, Endpoint, float, float]]) -> Ways:
    """Of (one end, the other, ms, weight), in any order."""
    ordered = sorted((min(x, y), max(x, y), ms, weight) for x, y, ms, weight in measured if x != y)
    ends = tuple(sorted({end for way in ordered for end in way[:2]}))
    index = {end: place for place, end in enumerate(ends)}
    return Ways(
        ends=ends,
        a=np.array([index[way[0]] for way in ordered], dtype=np.int64),
        b=np.array([index[way[1]] for way in ordered], dtype=np.int64),
        ms=np.array([way[2] for way in ordered], dtype=float),
        weight=np.array([way[3] for way in ordered], dtype=float),
    )


def fit(ways: Ways, spots: Mapping[Endpoint, Spot]) -> Coordinates:
    """The coordinates under which the measured ways fit best."""
    if not ways.ends:
        return NOTHING
    globe = on_globe(np.array([spots.get(end, NOWHERE) for end in ways.ends]).reshape(-1, 2))
    located = ~np.isnan(globe[:, 0])
    stretch = _stretch(ways, globe)
    home = _start(ways, globe * stretch, located)
    springs = _Springs(ways, home, located, globe, stretch)
    for _ in range(ROUNDS):
        springs.relax()
    return Coordinates(
        index={end: place for place, end in enumerate(ways.ends)},
        shift=np.where(located[:, None], springs.point - home, springs.point),
        height=springs.height,
        error=springs.errors(),
        located=located,
        stretch=stretch,
    )


def _stretch(ways: Ways, globe: Numbers) -> float:
    """The median of measured over great-circle ways, leaning on what is usual."""
    chord = np.linalg.norm(globe[ways.a] - globe[ways.b], axis=1)
    arc = chord + bend(globe[ways.a], globe[ways.b])
    long = arc > _SHORT_MS  # false for NaN
    if not long.any():
        return USUAL_STRETCH
    found = float(np.median((ways.ms[long] - 2 * ACCESS_MS) / arc[long]))
    count = int(long.sum())
    mixed = (found * count + USUAL_STRETCH * STRETCH_PRIOR) / (count + STRETCH_PRIOR)
    return float(np.clip(mixed, 1.0, 3.0))


def _start(ways: Ways, globe: Numbers, located: Mask) -> Numbers:
    """Where each endpoint begins: on the globe; else beside the nearest neighbour that has a place,
    in a direction that its name gives; else around the middle."""
    point, placed = globe.copy(), located.copy()
    way = np.array([_direction(end) for end in ways.ends])
    while not placed.all():
        found = _beside(ways, placed)
        if not found:
            break
        for end, (ms, neighbour) in found.items():
            point[end] = point[neighbour] + way[end] * max(ms - 2 * ACCESS_MS, 1.0)
        placed[list(found)] = True
    middle = float(np.median(ways.ms)) / 2
    return np.where(placed[:, None], point, way * middle)


def _beside(ways: Ways, placed: Mask) -> dict[int, tuple[float, int]]:
    """Of the ends that have no place the nearest neighbour that has one."""
    found: dict[int, tuple[float, int]] = {}
    for here, there in ((ways.a, ways.b), (ways.b, ways.a)):
        for way in np.flatnonzero(~placed[here] & placed[there]):
            near = (float(ways.ms[way]), int(there[way]))
            end = int(here[way])
            found[end] = min(found.get(end, near), near)
    return found


def _direction(end: Endpoint) -> Numbers:
    """A unit vector by the name: the same in every process."""
    digest = hashlib.sha256("/".join(end).encode("utf-8", "replace")).digest()
    vector = np.frombuffer(digest[:24], dtype="<u8") / 2.0**63 - 1.0
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


class _Springs:
    """The relaxation: a spring for each measured way, and one to where each end began."""

    def __init__(
        self, ways: Ways, home: Numbers, located: Mask, globe: Numbers, stretch: float
    ) -> None:
        self._ways, self._home, self._located = ways, home, located
        self.point = home.copy()
        self.height = np.full(len(home), ACCESS_MS)
        self._bend = stretch * bend(globe[ways.a], globe[ways.b])
        self._tolerance = TOLERANCE_MS + TOLERANCE_SHARE * ways.ms
        usual = TOLERANCE_MS + TOLERANCE_SHARE * 50
        self._stiff = ways.weight * (usual / self._tolerance) ** 2
        self._stiff_at = self._sum(self._stiff, self._stiff)
        self._hold = np.where(located, HOLD, HOLD_NOWHERE)

    def _rest(self) -> tuple[Numbers, Numbers]:
        """[way] and [way, 3]: how much longer each is than it should be, and its direction."""
        ways = self._ways
        apart = self.point[ways.a] - self.point[ways.b]
        length = np.linalg.norm(apart, axis=1)
        predicted = length + self.height[ways.a] + self.height[ways.b] + self._bend
        return ways.ms - predicted, apart / np.maximum(length, 1e-6)[:, None]

    def relax(self) -> None:
        rest, direction = self._rest()
        bound = ROBUST * self._tolerance
        force = self._stiff * np.clip(rest, -bound, bound)
        pulls = (force[:, None] * direction).T
        pull = np.stack([self._sum(axis, -axis) for axis in pulls], axis=1)
        pull += self._hold[:, None] * (self._home - self.point)
        self.point += STEP * pull / (self._stiff_at + self._hold)[:, None]
        lift = self._sum(force, force) + HOLD_HEIGHT * (ACCESS_MS - self.height)
        lifted = self.height + STEP * lift / (self._stiff_at + HOLD_HEIGHT)
        self.height = np.maximum(lifted, 0.0)

    def _sum(self, at_a: Numbers, at_b: Numbers) -> Numbers:
        count = len(self.height)
        at_ends = (np.bincount(self._ways.a, at_a, count), np.bincount(self._ways.b, at_b, count))
        return np.add(*at_ends, dtype=np.float64)

    def errors(self) -> Numbers:
        """How far what was measured lies from the prediction, as a share of it; few samples leave
        most of the doubt there was."""
        rest, _ = self._rest()
        share = (rest / np.maximum(self._ways.ms, 10.0)) ** 2 * self._ways.weight
        weight = self._sum(self._ways.weight, self._ways.weight)
        prior = np.where(self._located, LOCATED_ERROR, UNLOCATED_ERROR) ** 2
        sum_ = self._sum(share, share) + PRIOR_SAMPLES * prior
        return np.minimum(np.sqrt(sum_ / (weight + PRIOR_SAMPLES)), UNLOCATED_ERROR)
