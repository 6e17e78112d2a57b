"""The mix of work that a fleet really sees, learned from its requests as they come."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.amount import amounts_column, share_column
from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import Amounts, Numbers

CLASSES = 32
"""As many different requests count; those that are rarer hardly move the sum."""
HALF_LIFE = 5_000
"""Requests after which one weighs half as much."""
DRIFT = 0.1
"""Share of the weight of all requests that must have moved before scores follow: every node is
worked out anew then, for each need."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The most frequent GPU requests; weights add up to 1."""

    number: int = 0
    """Counts profiles: what was computed for one does not hold for another."""
    resources: tuple[Resources, ...] = ()
    weights: Numbers = field(default_factory=lambda: np.zeros(0))

    def says_as(self, other: "Profile") -> bool:
        """Whether it is the same mix, whatever its number."""
        same = self.resources == other.resources
        return same and np.array_equal(self.weights, other.weights)

    @property
    def amounts(self) -> Amounts:
        """[m, 3]"""
        rows = [amounts_column(resources) for resources in self.resources]
        return np.array(rows, dtype=np.int64).reshape(len(rows), 3)

    @property
    def counts(self) -> Amounts:
        """[m]: whole devices; 0 for a share of one, `ALL` for all."""
        return np.array([resources.gpu.count for resources in self.resources], dtype=np.int64)

    def parts(self, devices: Devices) -> Numbers:
        """[kind, m]: the part of a device that each class takes on a node of each kind, and
        infinity where no device of it will do. The last row is for nodes without a GPU."""
        table = np.full((len(devices.kinds) + 1, len(self.resources)), np.inf)
        for row, kind in enumerate(devices.kinds):
            for column, resources in enumerate(self.resources):
                table[row, column] = min(_part(resources.gpu, *device) for device in kind)
        return table


def _part(request: GpuRequest, model: str, vram_bytes: int, encoders: int) -> float:
    if request.models and not any(name.lower() in model.lower() for name in request.models):
        return np.inf
    if request.count:
        return 1.0
    pairs = zip(share_column(request), (MILLIONTHS, vram_bytes, encoders), strict=True)
    parts = [want / have if have else np.inf for want, have in pairs if want]
    part = max(parts)
    return float(part) if part <= 1 else np.inf


class Mix:
    """Learns. Weights fade, so that the mix follows the fleet's work."""

    def __init__(self) -> None:
        self._weights: dict[Resources, float] = {}
        self._grain = 1.0
        self._seen = 0
        self._next = 1
        self._profiled: dict[Resources, float] = {}
        """The shares of all requests behind `profile`. By its classes alone it would seem to have
        moved whenever others of like weight become the most frequent ones."""
        self.profile = Profile()

    def learn(self, resources: Resources) -> None:
        """One more request; `profile` becomes another once the mix has moved."""
        if resources.gpu.is_empty:
            return
        if resources.disk_bytes:
            resources = replace(resources, disk_bytes=0)
        self._grain *= 2 ** (1 / HALF_LIFE)
        self._weights[resources] = self._weights.get(resources, 0.0) + self._grain
        self._seen += 1
        if self._seen >= self._next:
            self._next = self._seen + max(1, min(self._seen, 1_000))
            self._renew()

    def _renew(self) -> None:
        whole = sum(self._weights.values())
        shares = {resources: weight / whole for resources, weight in self._weights.items()}
        if _distance(self._profiled, shares) > DRIFT:
            self._profiled, self.profile = shares, self._latest()
        self._forget()

    def _latest(self) -> Profile:
        ranked = sorted(self._weights.items(), key=lambda item: (-item[1], repr(item[0])))
        top = ranked[:CLASSES]
        weights = np.array([weight for _, weight in top])
        return Profile(
            number=self.profile.number + 1,
            resources=tuple(resources for resources, _ in top),
            weights=weights / weights.sum(),
        )

    def _forget(self) -> None:
        """Keep the numbers small and the table short."""
        self._weights = {
            resources: weight / self._grain
            for resources, weight in self._weights.items()
            if weight / self._grain > 2**-10
        }
        self._grain = 1.0


def _distance(one: dict[Resources, float], other: dict[Resources, float]) -> float:
    """0..1: the share of the weight that lies elsewhere."""
    return sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in one | other) / 2


def learned(requests: Sequence[Resources]) -> Mix:
    """The mix behind these requests."""
    mix = Mix()
    for resources in requests:
        mix.learn(resources)
    return mix
