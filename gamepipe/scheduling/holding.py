"""What each tenant holds of the whole fleet."""

from collections.abc import Callable, Hashable, Sequence
from operator import add, sub

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.amount import amounts_of, share_of
from gamepipe.scheduling.unit import MILLIONTHS, millionths
from gamepipe.scheduling.values import Amounts

Holding = tuple[int, int, int, int]
"""Millionths of cores, bytes of memory, bytes of disk, millionths of GPUs."""
NOTHING: Holding = (0, 0, 0, 0)
NAMES = ("cores", "memory", "disk", "GPUs")


def amounts_held(resources: Resources, gpu_millionths: int) -> Holding:
    """By kind."""
    return *amounts_of(resources), gpu_millionths


def gpus_held(request: GpuRequest, totals: Sequence[Sequence[int]]) -> int:
    """Millionths of GPUs: whole ones, or of one the part of what is scarcest for the request.

    Args:
        totals: [d, 3], what the devices that it holds have.
    """
    if request.count:
        return len(totals) * MILLIONTHS
    if request.is_empty or not totals:
        return 0
    pairs = zip(share_of(request), totals[0], strict=True)
    part = max((want / have for want, have in pairs if have > 0), default=0.0)
    return min(millionths(part), MILLIONTHS)


class Holdings:
    """By tenant the sums of what it holds, kept as it changes."""

    def __init__(self) -> None:
        self._of: dict[str, Holding] = {}
        self._taken: dict[Hashable, Holding] = {}
        """What each allocation was counted with: facts of its node may change meanwhile."""

    def copy(self) -> "Holdings":
        """Another one that changes by itself."""
        other = Holdings()
        other._of, other._taken = dict(self._of), dict(self._taken)
        return other

    def of(self, tenant: str) -> Amounts:
        """[4]"""
        return np.array(self._of.get(tenant, NOTHING), dtype=np.int64)

    def take(self, key: Hashable, tenant: str, amounts: Holding) -> None:
        self._taken[key] = amounts
        self._change(tenant, amounts, add)

    def give(self, key: Hashable, tenant: str) -> None:
        self._change(tenant, self._taken.pop(key, NOTHING), sub)

    def _change(self, tenant: str, amounts: Holding, by: Callable[[int, int], int]) -> None:
        cores, memory, disk, gpus = map(by, self._of.get(tenant, NOTHING), amounts)
        self._of[tenant] = cores, memory, disk, gpus
