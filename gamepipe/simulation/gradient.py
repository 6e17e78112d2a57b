"""The measure of "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent" (USENIX ATC'23), to compare with; nothing in production uses it.

To a class of tasks all that is left of a node's GPUs is a fragment where the node cannot run one;
where it can, the devices are fragments of which less is left than the task needs. To tasks without
a GPU everything is. The measure of a node is the mean over the classes, by how often they come. As
in the paper the classes are known beforehand, and memory is no part of a class.

A task goes to the node, and there to the device, where the measure grows the least. By how much is
told in steps, as in the paper's simulator (hkust-adsl/kubernetes-scheduler-simulator,
`pkg/simulator/plugin/fgd_score.go`): `score = floor(100 / (1 + exp(growth)))`, growth in GPUs, and
of equal scores the first node and the first device win. A step is about 0.04 GPU, so nodes that are
nearly as good are filled one after the other. Much of what the paper measured comes from that:
without steps, and without tasks that ask for no GPU among the classes, this policy allocates a
percent less of the trace.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.fleet import CPU, Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.unit import MILLIONTHS, millionths
from gamepipe.scheduling.values import Mask, Numbers, Rows

COVERED = 0.95
"""Share of the tasks that the classes are made of, the most frequent first."""
BEST_SCORE = 100
_NOISE = 1e-6
_DECIMALS = 5
"""Growth that differs by less is equal: float noise must not decide a step."""


def scores(growth: Numbers) -> Numbers:
    """Whole numbers, the higher the better; nodes of infinite growth get 0."""
    with np.errstate(over="ignore"):
        return np.floor(BEST_SCORE / (1 + np.exp(growth.round(_DECIMALS))))


class Gradient:
    """Of one fleet."""

    def __init__(self, fleet: Fleet, tasks: Sequence[Resources]) -> None:
        self._fleet = fleet
        classes, self._barren = _classes(tasks)
        self._weights = np.array([weight for _, weight in classes], dtype=np.float32)
        self._cpu = np.array([millionths(one.cpu) for one, _ in classes], dtype=np.int64)
        parts = [1.0 if one.gpu.count else one.gpu.share for one, _ in classes]
        self._part = np.array(parts, dtype=np.float32) - _NOISE
        self._count = np.array([max(one.gpu.count, 1) for one, _ in classes])
        self._requests = [one.gpu for one, _ in classes]
        self._suit = np.zeros((0, 0), dtype=bool)

    def growth(self, need: Need, rows: Rows) -> tuple[Numbers, Rows]:
        """[n] and [n]: the least growth on each node, and the device slot that it takes for a
        share; only for nodes where the need fits does it mean anything."""
        request = need.resources.gpu
        left = self._fleet.devices.left[rows].astype(np.float32)
        spare = self._fleet.left[rows, CPU]
        before = self._of(left, spare, rows)
        spare = spare - millionths(need.resources.cpu)
        if request.count or request.is_empty:
            picked, _ = self._fleet.devices.picked(request, rows)
            slots = np.zeros(len(rows), dtype=np.int64)
            return self._of(np.where(picked, 0, left), spare, rows) - before, slots
        return self._of_shares(request, left, spare, rows, before)

    def _of_shares(
        self, request: GpuRequest, left: Numbers, spare: Numbers, rows: Rows, before: Numbers
    ) -> tuple[Numbers, Rows]:
        """Every device is tried."""
        fit = self._fleet.devices.fit(request, rows)
        growth = np.full(fit.shape, np.inf)
        for slot in np.flatnonzero(fit.any(axis=0)):
            here = np.flatnonzero(fit[:, slot])
            after = left[here]
            after[:, slot] -= millionths(request.share) / MILLIONTHS
            growth[here, slot] = self._of(after, spare[here], rows[here]) - before[here]
        slots = scores(growth).argmax(axis=1)
        return growth[np.arange(len(rows)), slots], slots

    def _of(self, left: Numbers, spare: Numbers, rows: Rows) -> Numbers:
        """[n]: the measure, in GPUs."""
        enough = left[:, :, None] >= self._part
        whole = left.sum(axis=1)[:, None]
        usable = np.einsum("nd,ndm->nm", left, enough.astype(np.float32))
        runs = (enough.sum(axis=1) >= self._count) & (spare[:, None] >= self._cpu)
        runs &= self._accepted(rows)
        return np.where(runs, whole - usable, whole) @ self._weights + self._barren * whole[:, 0]

    def _accepted(self, rows: Rows) -> Mask:
        """[n, m]: nodes whose model a class accepts."""
        if not len(self._suit):
            suits = [self._fleet.devices.suit(request).any(axis=1) for request in self._requests]
            self._suit = np.stack(suits, axis=1)
        return self._suit[rows]


def _classes(tasks: Sequence[Resources]) -> tuple[list[tuple[Resources, float]], float]:
    """Tasks by cores and GPU: those with a GPU and their weights, and the weight of those without.
    All weights add up to 1."""
    asked = Counter(Resources(cpu=one.cpu, gpu=one.gpu) for one in tasks)
    found: list[tuple[Resources, int]] = []
    seen = barren = 0
    for resources, count in asked.most_common():
        if seen >= COVERED * len(tasks):
            break
        seen += count
        if resources.gpu.is_empty:
            barren += count
        else:
            found.append((resources, count))
    return [(resources, count / seen) for resources, count in found], barren / max(seen, 1)
