"""GPU capacity that a node could not sell to the work that the fleet sees.

A node may have GPUs left that the usual request cannot use: what is left of a device is too small,
or the cores or the memory for it are gone. For a class of requests the *usable* capacity of a node
is what is left of the devices that could take one, the emptiest first, for as many requests of that
class as the rest of the node (cores, memory) carries. Fragmentation is what is left of the node's
devices less what is usable, in GPUs, averaged over the classes by how often they come.

The idea of weighing what is left by the mix of the work is that of "Beware of Fragmentation:
Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC'23); there a class
either can run on a node or cannot, here it counts how often.
"""

from collections.abc import Iterable, Sequence
from operator import sub

import numpy as np
from numpy.typing import NDArray

from gamepipe.model.gpu import ALL
from gamepipe.model.spec import Resources
from gamepipe.scheduling.amount import amounts_column, amounts_of
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.mix import Profile
from gamepipe.scheduling.unit import LEFT_STEP
from gamepipe.scheduling.usable import TIMES_STEP, UsableOfOne, parts_in_steps, weights_of
from gamepipe.scheduling.values import ALL_ROWS, FEW, Amounts, Numbers, Rows, Some, numbered

ONE_BY_ONE = 6
"""As many nodes at most take less time each for itself than as columns."""


class Fragmentation:
    """Measures the nodes of one fleet against one profile."""

    def __init__(self, profile: Profile, fleet: Fleet) -> None:
        self._fleet = fleet
        self._weights = weights_of(profile)
        self._counts = profile.counts
        self._single = np.isin(self._counts, (0, 1))
        self._profile = profile
        self._parts: Numbers = np.zeros((0, 0))
        self._one: UsableOfOne | None = None
        with np.errstate(divide="ignore"):
            amounts = profile.amounts
            self._per_unit = np.where(amounts > 0, 1 / amounts, 0.0)
            self._at_least = np.where(amounts > 0, 0.0, np.inf)
        self._kinds = np.flatnonzero(self._per_unit.any(axis=0))
        self._present = np.zeros(len(fleet))
        self._known = np.zeros(len(fleet), dtype=bool)
        self._clock = -1

    def growth(self, resources: Resources, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: by how many GPUs what is unusable grows if the node takes the request; only for
        nodes where it fits does the figure mean anything."""
        if not isinstance(rows, slice) and len(rows) <= ONE_BY_ONE:
            return np.array([self._growth_of_one(resources, row) for row in rows.tolist()])
        picked, _ = self._fleet.devices.picked(resources.gpu, rows)
        left = self._fleet.devices.left_behind(resources.gpu, picked, rows)
        spare = self._fleet.left[rows] - amounts_column(resources)
        return self.of(left, spare, rows) - self.present(rows)

    def present(self, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: GPUs that are left and not usable, as things stand."""
        unknown = self._unknown(rows)
        if len(unknown):
            left = self._fleet.devices.left[unknown]
            self._present[unknown] = self.of(left, self._fleet.left[unknown], unknown)
            self._known[unknown] = True
        return self._present[rows]

    def _growth_of_one(self, resources: Resources, row: int) -> float:
        fleet, devices = self._fleet, self._fleet.devices
        self._follow()
        spare = fleet.left[row].tolist()
        if not self._known[row]:
            self._present[row] = self._of_one(devices.left[row].tolist(), spare, row)
            self._known[row] = True
        left = devices.left_after(resources.gpu, row)
        after = self._of_one(left, map(sub, spare, amounts_of(resources)), row)
        return after - float(self._present[row])

    def _of_one(self, left: Sequence[float], spare: Iterable[int], row: int) -> float:
        devices, unusable = self._fleet.devices, sum(left)
        if not unusable or not len(self._weights):
            return unusable
        parts = self._known_parts()
        if self._one is None:
            self._one = UsableOfOne(self._profile, parts)
        kind, there = int(devices.kind[row]), devices.count_on(row)
        return unusable - self._one.of(tuple(left), tuple(spare), kind, there)

    def _unknown(self, rows: Some) -> Rows:
        """Of which it is not known what is present."""
        self._follow()
        return numbered(rows, len(self._fleet))[~self._known[rows]]

    def _follow(self) -> None:
        if self._clock != self._fleet.clock:
            self._known[self._fleet.changed_since(self._clock)] = False
            self._clock = self._fleet.clock

    def of(self, left: Numbers, spare: Amounts, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: GPUs that would be left and not usable.

        Args:
            left: [n, d], what is left of each device, 0..1.
            spare: [n, 3], what is left of cores, memory and disk.
            rows: of the fleet, which nodes these are.
        """
        unusable = left.sum(axis=1)
        some = np.flatnonzero(unusable)
        if len(self._weights) and len(some):
            there = numbered(rows, len(self._fleet))[some]
            unusable[some] -= self._usable(left[some], spare[some], there)
        return unusable

    def _usable(self, left: Numbers, spare: Amounts, rows: Rows) -> Numbers:
        part = self._part(rows)
        times = self._times(spare)
        single, several = self._single, ~self._single
        if not several.any():
            return (_single(left, part, times) * self._weights).sum(axis=1)
        usable = np.empty(times.shape)
        usable[:, single] = _single(left, part[:, single], times[:, single])
        usable[:, several] = self._several(left, part[:, several], times[:, several], rows)
        return (usable * self._weights).sum(axis=1)

    def _part(self, rows: Rows) -> Numbers:
        """[n, m]: of a device of each node what a request of each class takes."""
        return self._known_parts()[self._fleet.devices.kind[rows]]

    def _known_parts(self) -> Numbers:
        devices = self._fleet.devices
        if len(self._parts) != len(devices.kinds) + 1:
            self._parts = parts_in_steps(self._profile.parts(devices))
            self._one = None
        return self._parts

    def _times(self, spare: Amounts) -> Numbers:
        """[n, m]: how many requests of each class the rest of the node carries, up to one for each
        device; parts of one count only behind a first."""
        times = np.full((len(spare), len(self._weights)), float(self._fleet.devices.width))
        for kind in self._kinds:
            each = np.multiply.outer(spare[:, kind], self._per_unit[:, kind])
            np.minimum(times, each + self._at_least[:, kind], out=times)
        times /= TIMES_STEP
        np.floor(times, out=times)
        times *= TIMES_STEP
        times *= times >= 1
        return times

    def _several(self, left: Numbers, part: Numbers, times: Numbers, rows: Rows) -> Numbers:
        """Classes that take several whole devices, or all that there are."""
        free = (left >= 1 - LEFT_STEP).sum(axis=1)[:, None]
        there = np.maximum((self._fleet.devices.model[rows] >= 0).sum(axis=1), 1)[:, None]
        counts = self._counts[~self._single]
        size = np.where(counts == ALL, there, counts)
        sets = np.minimum(free // size, times)
        return np.where(np.isfinite(part), sets * size, 0.0)


def _single(left: Numbers, part: Numbers, times: Numbers) -> Numbers:
    """Classes that take one device, or a part of one: of the devices that could take one the
    emptiest, as many as the rest carries, the last of them in part."""
    count, width = left.shape
    ordered = np.zeros((count, width + 1))
    ordered[:, :width] = -np.sort(-left, axis=1)
    able = _able(ordered[:, :-1], part)
    before = np.zeros_like(ordered)
    np.cumsum(ordered[:, :-1], axis=1, out=before[:, 1:])
    served = np.minimum(times, able)
    whole = served.astype(np.int64)
    served -= whole
    whole += np.arange(count)[:, None] * (width + 1)
    served *= ordered.ravel().take(whole)
    served += before.ravel().take(whole)
    return served


def _able(devices: Numbers, part: Numbers) -> NDArray[np.int16]:
    """[n, m]: how many of a node's devices have so much left."""
    if len(part) <= FEW:
        return np.add.reduce(devices[:, :, None] >= part[:, None, :], axis=1, dtype=np.int16)
    able = np.zeros(part.shape, dtype=np.int16)
    for device in devices.T[:, :, None]:
        able += device >= part
    return able
