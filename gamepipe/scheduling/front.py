"""The few nodes among which the best ones are, while little changes.

Between two requests for the same few nodes change. Of all others it is enough to know that each
costs at least so much: then who is the best is found among the front and those that changed.
"""

from dataclasses import dataclass, field

import numpy as np

from gamepipe.scheduling.values import Numbers, Rows

LENGTH = 128
LONGEST = 1_024
"""With those that changed since; then it is drawn up anew."""
Rank = tuple[float, int]
"""Rounded cost and row: the less, the better."""
_FIRST: Rank = (-np.inf, -1)
_LAST: Rank = (np.inf, -1)


@dataclass(kw_only=True, slots=True)
class Front:
    """Of one need."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """In order."""
    rest: Rank = _FIRST
    """No other node has a lower rank."""

    def add(self, changed: Rows) -> None:
        """Rows whose rank is another now."""
        if self.rest == _FIRST or not len(changed):
            return
        there = np.append(self.rows, -1).take(self.rows.searchsorted(changed)) == changed
        new = changed[~there]
        if len(new):
            self.rows = np.sort(np.concatenate([self.rows, new]))
            if len(self.rows) > LONGEST:
                self.rest = _FIRST

    def settles(self, rank: Rank) -> bool:
        """Whether all nodes of that rank and lower ones are in the front."""
        return rank < self.rest

    def drop_rest(self, costs: Numbers) -> None:
        """By the rounded cost of each row: those that are no better than the rest."""
        if len(self.rows) > 2 * LENGTH:
            cost, row = self.rest
            self.rows = self.rows[(costs < cost) | ((costs == cost) & (self.rows < row))]

    @staticmethod
    def of(costs: Numbers) -> "Front":
        """Args:
        costs: [n], rounded; what a node costs or what it costs at least, and infinity where it
            does not fit.
        """
        if len(costs) <= LENGTH:
            return Front(rows=np.flatnonzero(np.isfinite(costs)), rest=_LAST)
        limit = np.partition(costs, LENGTH)[LENGTH]
        if not np.isfinite(limit):
            return Front(rows=np.flatnonzero(np.isfinite(costs)), rest=_LAST)
        less, equal = np.flatnonzero(costs < limit), np.flatnonzero(costs == limit)
        some = LENGTH - len(less)
        rows = np.sort(np.concatenate([less, equal[:some]]))
        return Front(rows=rows, rest=(float(limit), int(equal[some])))
