"""Changes, and the quantities in them, in words."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from gamepipe.scheduling.unit import MILLIONTHS

_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Of the fleet, or of what is asked for."""

    kind: str
    """Of changes that differ only in how much, the smallest is told."""
    words: str
    """`{node}` stands for the id of the node that is changed."""
    size: float
    """Smaller changes are told first. About 1: to do without all of one thing that is asked for."""


def cores(amount: int) -> str:
    number = amount / MILLIONTHS
    return f"{number:g} core{'' if number == 1 else 's'}"


def size_up(amount: int) -> str:
    return _size(amount, math.ceil)


def size_down(amount: int) -> str:
    return _size(amount, math.floor)


def _size(amount: int, rounded: Callable[[float], int]) -> str:
    for unit, bytes_ in _UNITS:
        if amount >= bytes_:
            return f"{rounded(amount * 10 / bytes_) / 10:g} {unit}"
    return f"{amount} B"


def counted(count: int, what: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
