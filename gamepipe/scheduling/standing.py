"""How every node stands to a need: open or not, and at what cost.

Most requests of a fleet ask for the same few things, and between two of them few nodes change. So
what was worked out for a need is kept, and only the rows that changed are worked out anew.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from gamepipe.model.spec import Resources
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.room import Rooms
from gamepipe.scheduling.rule import crowding as crowded_places
from gamepipe.scheduling.rule import obstacles_besides_shortage
from gamepipe.scheduling.score import crowding, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Some

KEPT_CELLS = 12_000_000
"""Needs times nodes that are kept; the need that was asked for the longest ago goes."""
DECIMALS = 9
"""Costs that differ by less are equal: float noise decides nothing."""
PROMISING = 256
"""As many nodes are worked out first; then more at a time."""
_TIE = 2 * 10.0**-DECIMALS


@dataclass(kw_only=True, slots=True)
class Standing:
    """Of all nodes to one need, at one time of the fleet's clock; without its resources."""

    clock: int
    open: Mask
    """[n]: nothing stands in the way but that there may be too little of something."""
    cost: Numbers
    """[n], without the term `fragmentation`."""


class Standings:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rooms = Rooms(snapshot)
        self._kept: OrderedDict[Need, Standing] = OrderedDict()

    def of(self, need: Need) -> tuple[Mask, Numbers]:
        """[n] and [n]: where the need fits, and the cost of each node that is open."""
        open_, cost = self._besides_fragmentation(need)
        weight, room = self._weight, self._rooms.of(need.resources)
        if weight:
            room = self._rooms.learn(need.resources, np.flatnonzero(open_ & ~room.known))
            cost = cost + weight * room.growth
        return open_, cost

    def best(self, need: Need, closed: Collection[int] = ()) -> int | None:
        """The row that costs the least, of equal ones the first, none `closed`; None: it fits
        nowhere. Nodes that cannot be the best are not worked out."""
        open_, cost = self._besides_fragmentation(need)
        if closed:
            open_ = open_.copy()
            open_[list(closed)] = False
        if not open_.any():
            return None
        cost = np.where(open_, cost, np.inf)
        if self._weight < 0:
            _, cost = self.of(need)
            cost = np.where(open_, cost, np.inf)
        elif self._weight:
            cost = self._with_promising(need.resources, cost)
        return int(cost.round(DECIMALS).argmin())

    @property
    def _weight(self) -> float:
        return self._snapshot.policy.weights.fragmentation

    def _with_promising(self, resources: Resources, besides: Numbers) -> Numbers:
        """[n]: the cost of every node that may be the best, and of others less than that."""
        room, count = self._rooms.of(resources), PROMISING
        while True:
            cost = besides + self._weight * room.growth
            least = np.where(room.known, cost, np.inf).min()
            rows = np.flatnonzero(~room.known & (cost <= least + _TIE) & np.isfinite(cost))
            if not len(rows):
                return cost
            if len(rows) > count:
                rows = np.sort(rows[np.argpartition(cost[rows], count)[:count]])
            room, count = self._rooms.learn(resources, rows), 4 * count

    def _besides_fragmentation(self, need: Need) -> tuple[Mask, Numbers]:
        standing = self._found(need)
        if standing.clock != self._snapshot.fleet.clock:
            self._renew(need, standing)
        open_ = standing.open & self._rooms.of(need.resources).fits
        return self._with_crowding(need, open_, standing.cost)

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
        standing.open[rows], standing.cost[rows] = self._work_out(need, rows)
        standing.clock = fleet.clock

    def _work_out(self, need: Need, rows: Some) -> tuple[Mask, Numbers]:
        where = [one.where for one in obstacles_besides_shortage(need, self._snapshot, rows)]
        costs = terms(need, self._snapshot, rows, without="fragmentation").values()
        return ~np.logical_or.reduce(where), np.sum([np.zeros(len(where[0])), *costs], axis=0)

    def _with_crowding(self, need: Need, open_: Mask, cost: Numbers) -> tuple[Mask, Numbers]:
        if not need.placement.spread:
            return open_, cost
        for obstacle in crowded_places(need, self._snapshot.fleet):
            open_ = open_ & ~obstacle.where
        for more in crowding(need, self._snapshot).values():
            cost = cost + more
        return open_, cost
