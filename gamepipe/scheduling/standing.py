"""How every node stands to a need: open or not, and at what cost.

Most requests of a fleet ask for the same few things, and between two of them few nodes change. So
what was worked out for a need is kept, and only the rows that changed are worked out anew.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gamepipe.scheduling.need import Need
from gamepipe.scheduling.rule import crowding as crowded_places
from gamepipe.scheduling.rule import obstacles
from gamepipe.scheduling.score import crowding, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Rows, Some

KEPT_CELLS = 3_000_000
"""Needs times nodes that are kept; the need that was asked for the longest ago goes."""


@dataclass(kw_only=True, slots=True)
class Standing:
    """Of all nodes to one need, at one time of the fleet's clock."""

    clock: int
    open: Mask
    """[n]: nothing stands in the way."""
    cost: Numbers
    """[n]"""
    terms: dict[str, Numbers] = field(default_factory=dict)
    """[n] each: what the cost is made of, in single precision, for people."""


class Standings:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._kept: OrderedDict[Need, Standing] = OrderedDict()

    def of(self, need: Need) -> tuple[Mask, Numbers]:
        """[n] and [n]: where the need fits, and the cost of each node."""
        standing = self._found(need)
        if standing.clock != self._snapshot.fleet.clock:
            self._renew(need, standing)
        return self._with_crowding(need, standing)

    def terms_of(self, need: Need, rows: Rows) -> dict[str, Numbers]:
        """Of these rows what the cost of each is made of, as `of` found it last,
        without crowding."""
        return {name: term[rows] for name, term in self._kept[need].terms.items()}

    def _found(self, need: Need) -> Standing:
        standing = self._kept.get(need)
        if standing is None:
            count = len(self._snapshot.fleet)
            standing = Standing(clock=-1, open=np.zeros(count, dtype=bool), cost=np.zeros(count))
            self._kept[need] = standing
            while len(self._kept) * count > KEPT_CELLS and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(need)
        return standing

    def _renew(self, need: Need, standing: Standing) -> None:
        fleet = self._snapshot.fleet
        rows = ALL_ROWS if standing.clock < 0 else fleet.changed_since(standing.clock)
        costs = terms(need, self._snapshot, rows)
        standing.open[rows] = self._fits(need, rows)
        standing.cost[rows] = np.sum(list(costs.values()), axis=0)
        self._keep(standing, costs, rows)
        standing.clock = fleet.clock

    def _keep(self, standing: Standing, costs: Mapping[str, Numbers], rows: Some) -> None:
        for name, cost in costs.items():
            if name not in standing.terms:
                standing.terms[name] = np.zeros(len(standing.open), dtype=np.float32)
            standing.terms[name][rows] = cost

    def _fits(self, need: Need, rows: Some) -> Mask:
        where = [obstacle.where for obstacle in obstacles(need, self._snapshot, rows)]
        return ~np.logical_or.reduce(where)

    def _with_crowding(self, need: Need, standing: Standing) -> tuple[Mask, Numbers]:
        if not need.placement.spread:
            return standing.open, standing.cost
        open_, cost = standing.open.copy(), standing.cost.copy()
        for obstacle in crowded_places(need, self._snapshot.fleet):
            open_ &= ~obstacle.where
        for more in crowding(need, self._snapshot).values():
            cost += more
        return open_, cost
