"""How far nodes are from players, in milliseconds of round trip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from gamepipe.model import latency as ends
from gamepipe.model.latency import Measured
from gamepipe.scheduling.coordinate import ACCESS_MS, LOCATED_ERROR, Coordinates
from gamepipe.scheduling.detour import Detour
from gamepipe.scheduling.distance import NOWHERE, Spot, bend, on_globe
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.network import Network
from gamepipe.scheduling.place import Places, places_of
from gamepipe.scheduling.probe import FORGOTTEN, faded
from gamepipe.scheduling.values import Mask, Numbers, Rows

UNKNOWN, DISTANCE, PREDICTED, MEASURED = range(4)
SOURCES = ("unknown", "distance", "predicted", "measured")
CAUTION = 0.5
"""The share of its error by which the score takes a figure for longer."""
DETOUR_PRIOR = 1.0
PROBE_ERROR_MS, PROBE_ERROR_SHARE = 1.0, 0.1
"""How far off a single probe usually is."""
LEAST_MS, LEAST_ERROR_MS = 0.1, 0.5
KEPT_CELLS = 2_000_000
"""Regions times nodes that are kept; beyond that all of them are worked out anew."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Latency:
    """From one region of players to every node, in the order of the fleet."""

    ms: Numbers
    """[n]; NaN where nothing is known."""
    error_ms: Numbers
    """[n]: how far off that may be (one standard deviation); NaN where nothing is known."""
    source: Rows
    """[n]: index into `SOURCES`, by what counts for the most."""

    @cached_property
    def measured(self) -> Mask:
        """[n]: from probes; the others are predicted."""
        return self.source == MEASURED

    @cached_property
    def cautious_ms(self) -> Numbers:
        """[n]: an uncertain figure counts as a longer one."""
        return self.ms + CAUTION * self.error_ms

    def said(self, row: int) -> str:
        """How it is known, for people."""
        how = ("unknown", "by its distance", "predicted", "measured")[self.source[row]]
        return f"{how}, give or take {self.error_ms[row]:.0f}"


def certain(ms: Numbers) -> Latency:
    """Of figures that are known for sure; NaN: nothing is known."""
    known = ~np.isnan(ms)
    return Latency(
        ms=ms,
        error_ms=np.where(known, 0.0, np.nan),
        source=np.where(known, MEASURED, UNKNOWN),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Latencies:
    """What is known at one time. No figure of a node depends on which others are in a fleet."""

    regions: Mapping[str, Spot] = field(default_factory=dict)
    """Where players are."""
    probes: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    """By region and node."""
    network: Network = field(default_factory=Network)
    now: datetime | None = None
    """By which probes have aged; None: they have not."""
    _kept: dict[str, tuple[Places, Latency]] = field(default_factory=dict)
    _goals: dict[Places, "_Moved"] = field(default_factory=dict)

    def toward(self, region: str, fleet: Fleet) -> Latency:
        """Kept until a node of the fleet changes."""
        places = places_of(fleet)
        found = self._kept.get(region)
        if found is None or found[0] is not places:
            found = (places, self._work_out(region, places))
            if (len(self._kept) + 1) * len(fleet) > KEPT_CELLS:
                self._kept.clear()
            self._kept[region] = found
        return found[1]

    def _work_out(self, region: str, places: Places) -> Latency:
        predicted = self._detoured(region, places, self._predicted(region, places))
        return _mixed(predicted, *self._measured(region, places))

    # --- predictions ----------------------------------------------------------------------------

    def _predicted(self, region: str, places: Places) -> Latency:
        """By the coordinates; of what was never measured they are its place on the globe."""
        found = self.network.coordinates
        here = on_globe(np.array([self.regions.get(region, NOWHERE)]))
        start = _moved(found, here, np.array([found.index.get(ends.region(region), -1)]))
        goal = self._goal(places)
        length = np.linalg.norm(goal.point - start.point, axis=1)
        ms = length + found.stretch * bend(here, places.points) + goal.height + start.height
        share = np.sqrt((start.error**2 + goal.error**2) / 2)
        source = np.where(start.measured | goal.measured, PREDICTED, DISTANCE)
        return Latency(ms=ms, error_ms=share * ms, source=np.where(np.isnan(ms), UNKNOWN, source))

    def _goal(self, places: Places) -> "_Moved":
        """The nodes as the coordinates have them; the same for every region."""
        goal = self._goals.get(places)
        if goal is None:
            found = self.network.coordinates
            rows = [found.index.get(ends.node(name), -1) for name in places.ids]
            goal = _moved(found, places.points, np.array(rows, dtype=np.int64))
            self._goals.clear()
            self._goals[places] = goal
        return goal

    def _detoured(self, region: str, places: Places, plain: Latency) -> Latency:
        """With what was measured from there to other nodes of the same site."""
        by_site = [self.network.detours.get((region, site), _NONE) for site in places.sites]
        if not any(one.weight for one in by_site):
            return plain
        facts = [(one.extra_ms, one.usual_ms, one.weight, one.misfit) for one in by_site]
        extra, usual, weight, misfit = np.array(facts)[places.site].T
        told = weight > 0
        longer = np.where(np.isnan(plain.ms) & told, usual, plain.ms + extra)
        ms = np.maximum(longer, LEAST_MS)
        doubt = np.nan_to_num(plain.error_ms / np.maximum(plain.ms, LEAST_MS), nan=1.0)
        share = np.sqrt((misfit + DETOUR_PRIOR * doubt**2) / (weight + DETOUR_PRIOR))
        return Latency(ms=ms, error_ms=share * ms, source=np.where(told, PREDICTED, plain.source))

    # --- measurements ---------------------------------------------------------------------------

    def _measured(self, region: str, places: Places) -> tuple[Rows, Numbers, Numbers]:
        """Rows with probes, their figures, and how far off those may be: more, the older they
        are."""
        found = [
            (row, one.rtt_ms, one.jitter_ms, left)
            for name, one in self.probes.get(region, {}).items()
            if (row := places.row_of.get(name)) is not None and (left := self._weight(one)) > 0
        ]
        columns = np.array(sorted(found), dtype=float).reshape(-1, 4)
        rows, ms, jitter, weight = columns.T
        usual = PROBE_ERROR_MS + PROBE_ERROR_SHARE * ms
        variance = (usual**2 + weight * jitter**2) / (1 + weight) / np.maximum(weight, 1e-9)
        return rows.astype(np.int64), ms, np.maximum(np.sqrt(variance), LEAST_ERROR_MS)

    def _weight(self, one: Measured) -> float:
        if self.now is None:
            return one.weight
        age = self.now - one.last_at
        return 0.0 if age > FORGOTTEN else one.weight * faded(age.total_seconds())


_NONE = Detour(extra_ms=0.0, usual_ms=np.nan, weight=0.0, misfit=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moved:
    """Ends as the coordinates have them."""

    point: Numbers
    height: Numbers
    error: Numbers
    measured: Mask


def _moved(found: Coordinates, globe: Numbers, index: Rows) -> _Moved:
    """Of places on the globe with their index in the coordinates, below 0 for none. Coordinates of
    what was located then and is not now, or the other way round, mean nothing."""
    located = ~np.isnan(globe[:, 0])
    known = index >= 0
    known[known] = found.located[index[known]] == located[known]
    point, height = globe * found.stretch, np.full(len(globe), ACCESS_MS)
    error = np.full(len(globe), LOCATED_ERROR)
    at = index[known]
    point[known] = np.where(located[known, None], point[known], 0.0) + found.shift[at]
    height[known], error[known] = found.height[at], found.error[at]
    return _Moved(point=point, height=height, error=error, measured=known)


def _mixed(predicted: Latency, rows: Rows, ms: Numbers, error: Numbers) -> Latency:
    """Both count by how certain they are. Where they differ the prediction is doubted: there are
    detours, and it cannot know them all."""
    mixed, source = predicted.ms.copy(), predicted.source.copy()
    errors = predicted.error_ms.copy()
    guess, apart = predicted.ms[rows], ms - predicted.ms[rows]
    doubt = errors[rows] ** 2 + apart**2 / 4
    share = np.where(np.isnan(guess), 1.0, doubt / (doubt + error**2))
    mixed[rows] = np.where(np.isnan(guess), ms, guess + share * apart)
    both = np.sqrt(share * error**2 + share * (1 - share) * apart**2)
    errors[rows] = np.where(np.isnan(guess), error, both)
    source[rows] = np.where(share >= 0.5, MEASURED, source[rows])
    return Latency(ms=mixed, error_ms=errors, source=source)
