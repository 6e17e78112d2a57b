"""How every node stands to a need: open or not, and at what cost.

Most requests of a fleet ask for the same few things, and between two of them few nodes change. So
what was worked out for a need is kept, and only the rows that changed are worked out anew.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from gamepipe.scheduling.front import Front
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.room import Room, Rooms
from gamepipe.scheduling.rule import crowding as crowded_places
from gamepipe.scheduling.rule import obstacles_of_node, taken_ports
from gamepipe.scheduling.score import OF_HELD, OF_NODE, crowding, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Rows, Some

KEPT_CELLS = 4_000_000
"""Needs times nodes that are kept; the need that was asked for the longest ago goes."""
DECIMALS = 9
"""Costs that differ by less are equal: float noise decides nothing."""
FEW_UNKNOWN = 4
"""So many nodes are worked out whether they may be leading or not."""
PROMISING = 256
"""As many nodes are worked out first; then more at a time."""
_TIE = 2 * 10.0**-DECIMALS


@dataclass(kw_only=True, slots=True)
class Standing:
    """Of all nodes to one need, at one time of the fleet's clock."""

    clock: int = -1
    suits: Mask
    """[n]: nothing of the node itself stands in the way, whatever is held on it."""
    base: Numbers
    """[n]: the cost of what the node itself is."""
    open: Mask
    """[n]: it fits."""
    cost: Numbers
    """[n], without the term `fragmentation`; infinite where it does not fit."""
    terms: dict[str, Numbers] = field(default_factory=dict)
    """[n] each: what the cost is made of, in single precision, for people."""
    fitting: int = 0
    """How many are open."""
    front: Front = field(default_factory=Front)

    def tell(self, costs: Mapping[str, Numbers], rows: Some) -> None:
        """What the cost of these rows is made of."""
        for name, cost in costs.items():
            if name not in self.terms:
                self.terms[name] = np.zeros(len(self.cost), dtype=np.float32)
            self.terms[name][rows] = cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Leading:
    """The nodes that cost the least, the best first."""

    rows: Rows
    costs: Numbers
    fitting: int
    """How many nodes fit in all."""


class Standings:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot, rooms: Rooms | None = None) -> None:
        """Args:
        rooms: of an earlier snapshot; they are used if they still hold.
        """
        self._snapshot = snapshot
        self.rooms = rooms if rooms and rooms.hold_for(snapshot) else Rooms(snapshot)
        self._kept: OrderedDict[Need, Standing] = OrderedDict()
        self._latest: tuple[Need, Standing, Room] | None = None

    def of(self, need: Need) -> tuple[Mask, Numbers]:
        """[n] and [n]: where the need fits, and the cost of each node that is open."""
        standing, room = self._renewed(need)
        open_, cost = self._with_crowding(need, standing.open, standing.cost)
        if weight := self._weight(need):
            self.rooms.learn(room, np.flatnonzero(open_ & ~room.known))
            cost = cost + weight * room.growth
        return open_, cost

    def leading(self, need: Need, closed: Collection[int] = (), *, count: int = 1) -> Leading:
        """The first `count` nodes by cost, of equal ones the first, none `closed`. Nodes that
        cannot be among them are not worked out."""
        standing, room = self._renewed(need)
        alone = not closed and not need.placement.spread
        if alone and (leading := self._in_front(need, standing, room, count)):
            return leading
        open_, besides = self._with_crowding(need, standing.open, standing.cost)
        if closed:
            open_ = open_.copy()
            open_[list(closed)] = False
            besides = np.where(open_, besides, np.inf)
        costs = self._promising(need, room, ALL_ROWS, besides, count)
        rounded = costs.round(DECIMALS)
        if alone:
            standing.front = Front.of(rounded)
        fitting = int(open_.sum())
        rows = _least(rounded, min(count, fitting))
        return Leading(rows=rows, costs=costs[rows], fitting=fitting)

    def terms_of(self, need: Need, rows: Rows) -> dict[str, Numbers]:
        """What the costs of nodes that are leading are made of, without crowding."""
        standing, room = self._renewed(need)
        found = {name: term[rows] for name, term in standing.terms.items()}
        if weight := self._weight(need):
            found["fragmentation"] = weight * room.growth[rows]
        return found

    def _weight(self, need: Need) -> float:
        return self._snapshot.policy.weights_for(need.template).fragmentation

    # --- the first ones -------------------------------------------------------------------------

    def _in_front(self, need: Need, standing: Standing, room: Room, count: int) -> Leading | None:
        """If they are there for sure."""
        front, rows = standing.front, standing.front.rows
        costs = self._promising(need, room, rows, standing.cost[rows], count)
        rounded = costs.round(DECIMALS)
        wanted = min(count, standing.fitting)
        if int((rounded < np.inf).sum()) < wanted:
            return None
        at = _least(rounded, wanted)
        if wanted and not front.settles((float(rounded[at[-1]]), int(rows[at[-1]]))):
            return None
        front.drop_rest(rounded)
        return Leading(rows=rows[at], costs=costs[at], fitting=standing.fitting)

    def _promising(
        self, need: Need, room: Room, rows: Some, besides: Numbers, count: int
    ) -> Numbers:
        """The cost of every one of the rows that may be leading, and of others less than that."""
        weight, more = self._weight(need), PROMISING
        if not weight:
            return besides
        unknown = np.flatnonzero((besides < np.inf) & ~room.known[rows])
        if weight < 0 or len(unknown) <= FEW_UNKNOWN:
            self.rooms.learn(room, _some(rows, unknown))
            return besides + weight * room.growth[rows]
        while True:
            cost, known = besides + weight * room.growth[rows], room.known[rows]
            if known.all():
                return cost
            sure = np.where(known, cost, np.inf)
            limit = np.partition(sure, count - 1)[count - 1] if len(sure) >= count else np.inf
            at = np.flatnonzero(~known & (cost <= limit + _TIE) & np.isfinite(cost))
            if not len(at):
                return cost
            if len(at) > more:
                at = np.sort(at[np.argpartition(cost[at], more)[:more]])
            self.rooms.learn(room, _some(rows, at))
            more *= 4

    # --- keeping up -----------------------------------------------------------------------------

    def _renewed(self, need: Need) -> tuple[Standing, Room]:
        """As things are now."""
        standing, room = self._found(need)
        clock = self._snapshot.fleet.clock
        if standing.clock < 0:
            self._renew_nodes(need, standing, ALL_ROWS)
            self._renew_held(need, standing, room, ALL_ROWS)
        elif standing.clock != clock:
            changed = self._snapshot.fleet.changed_since(standing.clock)
            nodes = self._snapshot.fleet.with_new_node(changed, standing.clock)
            if len(nodes):
                self._renew_nodes(need, standing, nodes)
            standing.front.add(self._renew_held(need, standing, room, changed))
        standing.clock = clock
        return standing, room

    def _found(self, need: Need) -> tuple[Standing, Room]:
        if self._latest and self._latest[0] is need:
            _, standing, room = self._latest
            self.rooms.renew(room)
            return standing, room
        found = self._kept.get(need)
        if found is None:
            count = len(self._snapshot.fleet)
            found = self._kept[need] = _unknown(count)
            while len(self._kept) * count > KEPT_CELLS and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(need)
        self._latest = (need, found, self.rooms.of(need.resources))
        return found, self._latest[2]

    def _renew_nodes(self, need: Need, standing: Standing, rows: Some) -> None:
        where = [one.where for one in obstacles_of_node(need, self._snapshot, rows)]
        costs = terms(need, self._snapshot, rows, only=OF_NODE)
        standing.suits[rows] = ~np.logical_or.reduce(where)
        standing.base[rows] = sum(costs.values())
        standing.tell(costs, rows)

    def _renew_held(self, need: Need, standing: Standing, room: Room, rows: Some) -> Rows:
        """Those of the rows where the need fits."""
        open_ = standing.suits[rows] & room.fits[rows]
        for taken in taken_ports(need, self._snapshot.fleet, rows):
            open_ &= ~taken.where
        before = np.count_nonzero(standing.open[rows])
        standing.fitting += int(np.count_nonzero(open_) - before)
        standing.open[rows], standing.cost[rows] = open_, np.inf
        fitting = np.flatnonzero(open_) if isinstance(rows, slice) else rows[open_]
        if len(fitting):
            costs = terms(need, self._snapshot, fitting, only=OF_HELD)
            standing.cost[fitting] = standing.base[fitting] + sum(costs.values())
            standing.tell(costs, fitting)
        return fitting

    def _with_crowding(self, need: Need, open_: Mask, cost: Numbers) -> tuple[Mask, Numbers]:
        if not need.placement.spread:
            return open_, cost
        for obstacle in crowded_places(need, self._snapshot.fleet):
            open_ = open_ & ~obstacle.where
        for more in crowding(need, self._snapshot).values():
            cost = cost + more
        return open_, np.where(open_, cost, np.inf)


def _unknown(count: int) -> Standing:
    return Standing(
        suits=np.zeros(count, dtype=bool),
        base=np.zeros(count),
        open=np.zeros(count, dtype=bool),
        cost=np.zeros(count),
    )


def _some(rows: Some, at: Rows) -> Rows:
    """Of some rows those at these places."""
    return at if isinstance(rows, slice) else rows[at]


def _least(costs: Numbers, count: int) -> Rows:
    """Rows of the `count` least, of equal ones the first."""
    left, rows = costs.copy(), np.zeros(count, dtype=np.int64)
    for place in range(count):
        rows[place] = left.argmin()
        left[rows[place]] = np.inf
    return rows
