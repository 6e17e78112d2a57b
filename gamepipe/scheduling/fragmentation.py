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

from gamepipe.model.gpu import ALL
from gamepipe.model.spec import Resources
from gamepipe.scheduling.fleet import Fleet, amounts_of
from gamepipe.scheduling.mix import Profile
from gamepipe.scheduling.values import ALL_ROWS, Amounts, Numbers, Rows, Some

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
        self._present = np.zeros(len(fleet))
        self._known = np.zeros(len(fleet), dtype=bool)
        self._clock = -1

    def growth(self, resources: Resources, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: by how many GPUs what is unusable grows if the node takes the request; only for
        nodes where it fits does the figure mean anything."""
        devices = self._fleet.devices
        picked, _ = devices.picked(resources.gpu, rows)
        left = devices.left_behind(resources.gpu, picked, rows)
        spare = self._fleet.left_of(rows) - amounts_of(resources)
        return self.of(left, spare, rows) - self.present(rows)

    def present(self, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: GPUs that are left and not usable, as things stand."""
        fleet = self._fleet
        if self._clock != fleet.clock:
            self._known[fleet.changed_since(self._clock)] = False
            self._clock = fleet.clock
        unknown = np.arange(len(fleet))[rows][~self._known[rows]]
        if len(unknown):
            left = fleet.devices.left[unknown]
            self._present[unknown] = self.of(left, fleet.left_of(unknown), unknown)
            self._known[unknown] = True
        return self._present[rows]

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
            there = np.arange(len(self._fleet))[rows][some]
            unusable[some] -= self._usable(left[some], spare[some], there)
        return unusable

    def _usable(self, left: Numbers, spare: Amounts, rows: Rows) -> Numbers:
        part = self._part(rows)
        times = self._times(spare)
        usable = np.empty(times.shape, dtype=np.float32)
        single, several = self._single, ~self._single
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
        for kind in np.flatnonzero(self._per_unit.any(axis=0)):
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
    able = np.zeros(part.shape, dtype=np.int16)
    for device in ordered.T[:-1, :, None]:
        able += device >= part
    before = np.zeros_like(ordered)
    np.cumsum(ordered[:, :-1], axis=1, out=before[:, 1:])
    served = np.minimum(times, able)
    whole = served.astype(np.int64)
    served -= whole
    whole += np.arange(count)[:, None] * (width + 1)
    served *= ordered.ravel().take(whole)
    served += before.ravel().take(whole)
    return served
