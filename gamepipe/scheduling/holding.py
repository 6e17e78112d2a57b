"""What each tenant holds of the whole fleet."""

from collections.abc import Hashable

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.device import share_of
from gamepipe.scheduling.unit import MILLIONTHS, millionths
from gamepipe.scheduling.values import Amounts

KINDS = 4
"""Millionths of cores, bytes of memory, bytes of disk, millionths of GPUs."""
NAMES = ("cores", "memory", "disk", "GPUs")


def amounts_held(resources: Resources, gpu_millionths: int) -> Amounts:
    """[4]"""
    cores, memory, disk = millionths(resources.cpu), resources.memory_bytes, resources.disk_bytes
    return np.array((cores, memory, disk, gpu_millionths), dtype=np.int64)


def gpus_held(request: GpuRequest, totals: Amounts) -> int:
    """Millionths of GPUs: whole ones, or of one the part of what is scarcest for the request.

    Args:
        totals: [d, 3], what the devices that it holds have.
    """
    if request.count:
        return len(totals) * MILLIONTHS
    if request.is_empty or not len(totals):
        return 0
    pairs = zip(share_of(request), totals[0].tolist(), strict=True)
    part = max((want / have for want, have in pairs if have > 0), default=0.0)
    return min(millionths(part), MILLIONTHS)


class Holdings:
    """By tenant the sums of what it holds, kept as it changes."""

    def __init__(self) -> None:
        self._of: dict[str, Amounts] = {}
        self._taken: dict[Hashable, Amounts] = {}
        """What each allocation was counted with: facts of its node may change meanwhile."""

    def copy(self) -> "Holdings":
        """Another one that changes by itself."""
        other = Holdings()
        other._of, other._taken = dict(self._of), dict(self._taken)
        return other

    def of(self, tenant: str) -> Amounts:
        """[4]"""
        return self._of.get(tenant, np.zeros(KINDS, dtype=np.int64))

    def take(self, key: Hashable, tenant: str, amounts: Amounts) -> None:
        self._taken[key] = amounts
        self._of[tenant] = self.of(tenant) + amounts

    def give(self, key: Hashable, tenant: str) -> None:
        self._of[tenant] = self.of(tenant) - self._taken.pop(key, np.int64(0))
