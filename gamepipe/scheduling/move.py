"""Rows of a fleet that move because nodes join it: a row is the place of an id among all ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gamepipe.scheduling.values import Rows

T = TypeVar("T")
A = TypeVar("A", bound=NDArray[Any])


@dataclass(frozen=True, kw_only=True)
class Move:
    """New rows come before old ones; what is moved is another value, and the old one stays."""

    count: int
    """Of the old rows."""
    before: Sequence[int]
    """Of each new row, in order, the old one that it comes before; `count` for the end."""

    @cached_property
    def new_of(self) -> Rows:
        """[count]: the new row of each old one."""
        rows = np.arange(self.count)
        return rows + np.searchsorted(self.before, rows, side="right")

    def column(self, column: A, fill: int = 0) -> A:
        """[n, ...], with `fill` in the new rows."""
        moved: A = np.insert(column, self.before, fill, axis=0)
        return moved

    def keys(self, rows: Mapping[int, T]) -> dict[int, T]:
        """What is known by row."""
        return dict(zip(self.new_of[list(rows)].tolist(), rows.values(), strict=True))

    def places(self, values: Iterable[T], fill: T) -> list[T]:
        """[n], with `fill` in the new rows."""
        moved = [fill] * (self.count + len(self.before))
        for row, value in zip(self.new_of.tolist(), values, strict=True):
            moved[row] = value
        return moved
