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

import numpy as np
from numpy.typing import NDArray

from gamepipe.model.gpu import ALL
from gamepipe.model.spec import Resources
from gamepipe.scheduling.fleet import Fleet, amounts_of
from gamepipe.scheduling.mix import Profile
from gamepipe.scheduling.values import ALL_ROWS, FEW, Amounts, Mask, Numbers, Rows, Some, numbered

_NOISE = 1e-6


class Fragmentation:
    """Measures the nodes of one fleet against one profile."""

    def __init__(self, profile: Profile, fleet: Fleet) -> None:
        self._fleet = fleet
        self._weights = profile.weights.astype(np.float32)
        self._counts = profile.counts
        self._single = np.isin(self._counts, (0, 1))
        self._profile = profile
        self._parts = np.zeros((0, 0), dtype=np.float32)
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
        picked, _ = self._fleet.devices.picked(resources.gpu, rows)
        return self.behind(resources, picked, rows)

    def behind(self, resources: Resources, picked: Mask, rows: Some) -> Numbers:
        """`growth` with the devices that are picked for it."""
        left = self._fleet.devices.left_behind(resources.gpu, picked, rows)
        spare = self._fleet.left_of(rows) - amounts_of(resources)
        unknown = self._unknown(rows)
        if not len(unknown):
            return self.of(left, spare, rows) - self._present[rows]
        there = numbered(rows, len(self._fleet))
        both = self.of(
            np.concatenate([left, self._fleet.devices.left[unknown]]),
            np.concatenate([spare, self._fleet.left_of(unknown)]),
            np.concatenate([there, unknown]),
        )
        self._present[unknown] = both[len(there) :]
        self._known[unknown] = True
        return both[: len(there)] - self._present[rows]

    def present(self, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: GPUs that are left and not usable, as things stand."""
        unknown = self._unknown(rows)
        if len(unknown):
            left = self._fleet.devices.left[unknown]
            self._present[unknown] = self.of(left, self._fleet.left_of(unknown), unknown)
            self._known[unknown] = True
        return self._present[rows]

    def _unknown(self, rows: Some) -> Rows:
        """Of which it is not known what is present."""
        fleet = self._fleet
        if self._clock != fleet.clock:
            self._known[fleet.changed_since(self._clock)] = False
            self._clock = fleet.clock
        return numbered(rows, len(fleet))[~self._known[rows]]

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
        usable = np.empty(times.shape, dtype=np.float32)
        usable[:, single] = _single(left, part[:, single], times[:, single])
        usable[:, several] = self._several(left, part[:, several], times[:, several], rows)
        return (usable * self._weights).sum(axis=1)

    def _part(self, rows: Rows) -> Numbers:
        """[n, m]: of a device of each node what a request of each class takes."""
        devices = self._fleet.devices
        if len(self._parts) != len(devices.kinds) + 1:
            self._parts = self._profile.parts(devices).astype(np.float32) - _NOISE
        return self._parts[devices.kind[rows]]

    def _times(self, spare: Amounts) -> Numbers:
        """[n, m]: how many requests of each class the rest of the node carries, up to one for each
        device; parts of one count only behind a first."""
        width = self._fleet.devices.width
        times = np.full((len(spare), len(self._weights)), width, dtype=np.float32)
        for kind in self._kinds:
            each = np.multiply.outer(spare[:, kind], self._per_unit[:, kind])
            np.minimum(times, each + self._at_least[:, kind], out=times)
        times *= times >= 1
        return times

    def _several(self, left: Numbers, part: Numbers, times: Numbers, rows: Rows) -> Numbers:
        """Classes that take several whole devices, or all that there are."""
        free = (left >= 1 - _NOISE).sum(axis=1)[:, None]
        there = np.maximum((self._fleet.devices.model[rows] >= 0).sum(axis=1), 1)[:, None]
        counts = self._counts[~self._single]
        size = np.where(counts == ALL, there, counts)
        sets = np.minimum(free // size, times)
        return np.where(np.isfinite(part), sets * size, 0.0)


def _single(left: Numbers, part: Numbers, times: Numbers) -> Numbers:
    """Classes that take one device, or a part of one: of the devices that could take one the
    emptiest, as many as the rest carries, the last of them in part."""
    count, width = left.shape
    ordered = np.zeros((count, width + 1), dtype=np.float32)
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
