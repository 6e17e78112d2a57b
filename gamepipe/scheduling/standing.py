"""How every node stands to a need: open or not, and at what cost.

Most requests of a fleet ask for the same few things, and between two of them few nodes change. So
what was worked out for a need is kept, and only the rows that changed are worked out anew.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from gamepipe.scheduling.need import Need
from gamepipe.scheduling.room import Rooms
from gamepipe.scheduling.rule import crowding as crowded_places
from gamepipe.scheduling.rule import obstacles_besides_shortage
from gamepipe.scheduling.score import crowding, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Rows

KEPT_CELLS = 4_000_000
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
    terms: dict[str, Numbers] = field(default_factory=dict)
    """[n] each: what the cost is made of, in single precision, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leading:
    """The nodes that cost the least, the best first."""

    rows: Rows
    costs: Numbers
    fitting: int
    """How many nodes fit in all."""


class Standings:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rooms = Rooms(snapshot)
        self._kept: OrderedDict[Need, Standing] = OrderedDict()

    def of(self, need: Need) -> tuple[Mask, Numbers]:
        """[n] and [n]: where the need fits, and the cost of each node that is open."""
        open_, cost = self._besides_fragmentation(need)
        weight, room = self._weight(need), self._rooms.of(need.resources)
        if weight:
            room = self._rooms.learn(need.resources, np.flatnonzero(open_ & ~room.known))
            cost = cost + weight * room.growth
        return open_, cost

    def leading(self, need: Need, closed: Collection[int] = (), *, count: int = 1) -> Leading:
        """The first `count` nodes by cost, of equal ones the first, none `closed`. Nodes that
        cannot be among them are not worked out."""
        open_, cost = self._besides_fragmentation(need)
        if closed:
            open_ = open_.copy()
            open_[list(closed)] = False
        weight = self._weight(need)
        if weight < 0:
            _, cost = self.of(need)
        cost = np.where(open_, cost, np.inf)
        if weight > 0:
            cost = self._with_promising(need, cost, count)
        fitting = int(open_.sum())
        rows = _least(cost.round(DECIMALS), min(count, fitting))
        return Leading(rows=rows, costs=cost[rows], fitting=fitting)

    def terms_of(self, need: Need, rows: Rows) -> dict[str, Numbers]:
        """What the costs of nodes that are leading are made of, without crowding."""
        found = {name: term[rows] for name, term in self._kept[need].terms.items()}
        if weight := self._weight(need):
            found["fragmentation"] = weight * self._rooms.of(need.resources).growth[rows]
        return found

    def _weight(self, need: Need) -> float:
        return self._snapshot.policy.weights_for(need.template).fragmentation

    def _with_promising(self, need: Need, besides: Numbers, count: int) -> Numbers:
        """[n]: the cost of every node that may be leading, and of others less than that."""
        weight, resources, more = self._weight(need), need.resources, PROMISING
        room = self._rooms.of(resources)
        while True:
            cost = besides + weight * room.growth
            known = np.where(room.known, cost, np.inf)
            limit = np.partition(known, count - 1)[count - 1] if len(known) >= count else np.inf
            rows = np.flatnonzero(~room.known & (cost <= limit + _TIE) & np.isfinite(cost))
            if not len(rows):
                return cost
            if len(rows) > more:
                rows = np.sort(rows[np.argpartition(cost[rows], more)[:more]])
            room, more = self._rooms.learn(resources, rows), 4 * more

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
        where = [one.where for one in obstacles_besides_shortage(need, self._snapshot, rows)]
        costs = terms(need, self._snapshot, rows, without="fragmentation")
        standing.open[rows] = ~np.logical_or.reduce(where)
        standing.cost[rows] = np.sum([np.zeros(len(where[0])), *costs.values()], axis=0)
        for name, cost in costs.items():
            if name not in standing.terms:
                standing.terms[name] = np.zeros(len(fleet), dtype=np.float32)
            standing.terms[name][rows] = cost
        standing.clock = fleet.clock

    def _with_crowding(self, need: Need, open_: Mask, cost: Numbers) -> tuple[Mask, Numbers]:
        if not need.placement.spread:
            return open_, cost
        for obstacle in crowded_places(need, self._snapshot.fleet):
            open_ = open_ & ~obstacle.where
        for more in crowding(need, self._snapshot).values():
            cost = cost + more
        return open_, cost


def _least(costs: Numbers, count: int) -> Rows:
    """Rows of the `count` least, of equal ones the first."""
    left, rows = costs.copy(), np.zeros(count, dtype=np.int64)
    for place in range(count):
        rows[place] = left.argmin()
        left[rows[place]] = np.inf
    return rows
