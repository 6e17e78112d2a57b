"""What of each node could be taken back: held by pipelines that a higher class may interrupt."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gamepipe.model.record import Allocation
from gamepipe.scheduling.amount import amounts_column, share_column
from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.move import Move
from gamepipe.scheduling.values import Amounts, Mask, Rows

Key = tuple[str, int]
"""Pipeline id and generation."""
KEPT_CELLS = 4_000_000
"""Needs times nodes that are kept; what was asked for the longest ago goes."""


@dataclass(kw_only=True, slots=True)
class Held:
    """Something held of nodes, a row each."""

    amounts: Amounts
    """[c, 3]"""
    shares: Amounts
    """[c, d, 3]: of devices that are shared."""
    whole: Amounts
    """[c, d]: devices that are held whole."""

    @classmethod
    def nothing(cls, count: int, width: int) -> "Held":
        return cls(
            amounts=np.zeros((count, 3), dtype=np.int64),
            shares=np.zeros((count, width, 3), dtype=np.int64),
            whole=np.zeros((count, width), dtype=np.int64),
        )

    def count(self, at: int, allocation: Allocation, slots: list[int], sign: int = 1) -> None:
        """Add an allocation, whose devices are at `slots`; or (`sign` -1) take it away."""
        self.amounts[at] += sign * amounts_column(allocation.resources)
        if allocation.resources.gpu.count:
            self.whole[at, slots] += sign
        else:
            self.shares[at, slots] += sign * share_column(allocation.resources.gpu)

    def widened(self, width: int) -> "Held":
        """With room for as many devices."""
        more = width - self.whole.shape[1]
        if more > 0:
            self.shares = np.pad(self.shares, ((0, 0), (0, more), (0, 0)))
            self.whole = np.pad(self.whole, ((0, 0), (0, more)))
        return self

    def moved(self, move: Move) -> "Held":
        return Held(
            amounts=move.column(self.amounts),
            shares=move.column(self.shares),
            whole=move.column(self.whole),
        )

    def at(self, rows: Rows) -> "Held":
        return Held(amounts=self.amounts[rows], shares=self.shares[rows], whole=self.whole[rows])

    def plus(self, other: "Held") -> "Held":
        return Held(
            amounts=self.amounts + other.amounts,
            shares=self.shares + other.shares,
            whole=self.whole + other.whole,
        )


@dataclass(kw_only=True, slots=True)
class Enough:
    """Where there would be room, at one time of the fleet's clock."""

    clock: int = -1
    enough: Mask
    """[n]"""


class Preemptibles:
    """Allocations that may be preempted, by class: each one, and what they hold of each node. One
    that was preempted already, and has yet to leave, is `leaving` instead."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._of: dict[int, dict[int, dict[Key, Allocation]]] = {}
        """By class and row."""
        self._held: dict[int, Held] = {}
        self._enough: OrderedDict[Hashable, Enough] = OrderedDict()
        self.leaving: dict[Key, Allocation] = {}

    def moved(self, move: Move, devices: Devices) -> "Preemptibles":
        """Those of a fleet that nodes join."""
        moved = Preemptibles(devices)
        moved.leaving = dict(self.leaving)
        for priority, rows in self._of.items():
            moved._of[priority] = move.keys({row: dict(held) for row, held in rows.items()})
        moved._held = {priority: held.moved(move) for priority, held in self._held.items()}
        return moved

    def take(self, row: int, allocation: Allocation) -> None:
        """Count an allocation, if it is any of these. An offer that nobody took runs nothing."""
        key = (allocation.pipeline_id, allocation.generation)
        if allocation.preempted_for:
            self.leaving[key] = allocation
        elif allocation.preemptible and allocation.taken_at is not None:
            rows = self._of.setdefault(allocation.priority, {})
            rows.setdefault(row, {})[key] = allocation
            self._count(row, allocation, 1)

    def give(self, row: int, allocation: Allocation) -> None:
        """Forget one."""
        key = (allocation.pipeline_id, allocation.generation)
        self.leaving.pop(key, None)
        rows = self._of.get(allocation.priority, {})
        if rows.get(row, {}).pop(key, None) is None:
            return
        self._count(row, allocation, -1)
        if not rows[row]:
            del rows[row]
        if not rows:
            del self._of[allocation.priority], self._held[allocation.priority]

    def recount(self, row: int) -> None:
        """The devices of a node are others now."""
        for priority, rows in self._of.items():
            held = self._columns(priority)
            held.amounts[row], held.shares[row], held.whole[row] = 0, 0, 0
            for allocation in rows.get(row, {}).values():
                self._count(row, allocation, 1)

    def classes_below(self, priority: int) -> list[int]:
        """The lowest first."""
        return sorted(one for one in self._of if one < priority)

    def held_up_to(self, priority: int, rows: Rows) -> Held:
        """[c, ...]: what those of this class and below hold of these nodes."""
        total = Held.nothing(len(rows), self._devices.width)
        for one in self._of:
            if one <= priority:
                total = total.plus(self._columns(one).at(rows))
        return total

    def room_for(self, what: Hashable) -> Enough:
        """What was found before; a new one, of which nothing is known, where nobody asked."""
        count = len(self._devices.model)
        if what not in self._enough:
            self._enough[what] = Enough(enough=np.zeros(count, dtype=bool))
            while len(self._enough) * count > KEPT_CELLS and len(self._enough) > 1:
                self._enough.popitem(last=False)
        self._enough.move_to_end(what)
        return self._enough[what]

    def coming(self, since: datetime | None = None) -> list[Allocation]:
        """Those that are leaving, and were asked later than that: others may be stuck, and nobody
        counts on their room."""
        everybody = self.leaving.values()
        if since is None:
            return list(everybody)
        return [one for one in everybody if one.preempted_at is None or one.preempted_at > since]

    def on(self, row: int, priority: int) -> Iterator[Allocation]:
        """Those of this class and below on a node."""
        for one, rows in self._of.items():
            if one <= priority:
                yield from rows.get(row, {}).values()

    def _count(self, row: int, allocation: Allocation, sign: int) -> None:
        slots = self._devices.slots_of(row, allocation.gpu_devices)
        self._columns(allocation.priority).count(row, allocation, slots, sign)

    def _columns(self, priority: int) -> Held:
        held = self._held.get(priority)
        if held is None:
            held = Held.nothing(len(self._devices.model), self._devices.width)
            self._held[priority] = held
        return held.widened(self._devices.width)
