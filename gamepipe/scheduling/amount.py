"""What a request takes, in whole units: as plain numbers, and as columns that are only read."""

from functools import lru_cache

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.unit import millionths
from gamepipe.scheduling.values import Amounts

_KEPT = 1_024
"""Requests whose columns are kept."""


def amounts_of(resources: Resources) -> tuple[int, int, int]:
    """Millionths of a core, bytes of memory, bytes of disk."""
    return millionths(resources.cpu), resources.memory_bytes, resources.disk_bytes


@lru_cache(_KEPT)
def amounts_column(resources: Resources) -> Amounts:
    """[3]: `amounts_of`."""
    return _column(amounts_of(resources))


def share_of(request: GpuRequest) -> tuple[int, int, int]:
    """Of a device, by one who asks for a part of it: millionths of its compute, bytes of VRAM,
    encoder sessions."""
    return millionths(request.share), request.vram_bytes, request.encoders


@lru_cache(_KEPT)
def share_column(request: GpuRequest) -> Amounts:
    """[3]: `share_of`."""
    return _column(share_of(request))


def _column(amounts: tuple[int, int, int]) -> Amounts:
    column = np.array(amounts, dtype=np.int64)
    column.flags.writeable = False
    return column
