"""Where there is room for what a pipeline asks for, and what its taking it would leave unusable.

Both depend on the resources alone, so needs that ask for the same share them, wherever their
players are. What would be unusable takes long to work out: until a node is promising, it is enough
to know what it cannot be less than.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.amount import amounts_column
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Amounts, Mask, Numbers, Rows, are_few

K = TypeVar("K")
T = TypeVar("T")
KEPT_CELLS = 4_000_000
"""Requests times nodes that are kept; what was asked for the longest ago goes."""
_NOISE = 1e-5


@dataclass(kw_only=True, slots=True)
class Room:
    """On all nodes for one request, at one time of the fleet's clock."""

    resources: Resources
    amounts: Amounts
    """[3]: cores, memory and disk of it; whoever asks for nothing of a thing is never short."""
    clock: int = -1
    fits: Mask
    """[n]: of nothing there is too little."""
    growth: Numbers
    """[n]: of what is unusable, in GPUs; what it is at least, where it is not `known`."""
    known: Mask
    """[n]"""
    most_taken: float = 0.0
    """GPUs: by so much what is unusable can shrink."""
    shape: tuple[int, int] = (-1, -1)
    """Of the devices when `most_taken` was found."""


@dataclass(kw_only=True, slots=True)
class Slots:
    """On all nodes for one request for GPUs, at one time of the fleet's clock."""

    clock: int = -1
    enough: Mask
    """[n]"""
    taken: Numbers
    """[n]: by how much less would be left, in GPUs."""


class Rooms:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rooms: OrderedDict[Resources, Room] = OrderedDict()
        self._slots: OrderedDict[GpuRequest, Slots] = OrderedDict()

    def hold_for(self, snapshot: Snapshot) -> bool:
        """Whether they are the same in that one: where players and failures are counts for none."""
        mine = self._snapshot
        return (
            mine.fleet is snapshot.fleet
            and mine.profile is snapshot.profile
            and mine.policy is snapshot.policy
        )

    def of(self, resources: Resources) -> Room:
        room = self._kept(self._rooms, resources, lambda: self._room(resources))
        self.renew(room)
        return room

    def renew(self, room: Room) -> None:
        """As things are now."""
        fleet = self._snapshot.fleet
        if room.clock == fleet.clock:
            return
        rows = ALL_ROWS if room.clock < 0 else fleet.changed_since(room.clock)
        room.clock, request = fleet.clock, room.resources.gpu
        enough = np.logical_and.reduce(fleet.left[rows] >= room.amounts, axis=1)
        # Who takes so much of the devices makes no more than that of it usable.
        if are_few(rows):
            room.fits[rows] = enough & fleet.devices.enough(request, rows)
            room.growth[rows] = -self._most_taken(room) - _NOISE
        else:
            slots = self._slots_of(request)
            room.fits[rows] = enough & slots.enough[rows]
            room.growth[rows] = -slots.taken[rows] - _NOISE
        room.known[rows] = False

    def _most_taken(self, room: Room) -> float:
        devices = self._snapshot.fleet.devices
        if room.shape != devices.shape:
            room.most_taken = devices.most_taken(room.resources.gpu)
            room.shape = devices.shape
        return room.most_taken

    def learn(self, room: Room, rows: Rows) -> None:
        """Work out what would be unusable on these nodes."""
        if len(rows):
            room.growth[rows] = self._snapshot.fragmentation.growth(room.resources, rows)
            room.known[rows] = True

    def _slots_of(self, request: GpuRequest) -> Slots:
        slots = self._kept(self._slots, request, self._no_slots)
        fleet = self._snapshot.fleet
        if slots.clock != fleet.clock and not request.is_empty:
            rows = ALL_ROWS if slots.clock < 0 else fleet.changed_since(slots.clock)
            picked, slots.enough[rows] = fleet.devices.picked(request, rows)
            slots.taken[rows] = fleet.devices.taken(request, picked, rows)
        slots.clock = fleet.clock
        return slots

    def _room(self, resources: Resources) -> Room:
        count, asked = len(self._snapshot.fleet), amounts_column(resources)
        fits, known = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        return Room(
            resources=resources,
            amounts=np.where(asked, asked, np.iinfo(np.int64).min),
            fits=fits,
            growth=np.zeros(count),
            known=known,
        )

    def _no_slots(self) -> Slots:
        """Enough for who asks for none."""
        count = len(self._snapshot.fleet)
        return Slots(enough=np.ones(count, dtype=bool), taken=np.zeros(count))

    def _kept(self, table: OrderedDict[K, T], key: K, make: Callable[[], T]) -> T:
        if key not in table:
            table[key] = make()
            while len(table) * len(self._snapshot.fleet) > KEPT_CELLS and len(table) > 1:
                table.popitem(last=False)
        table.move_to_end(key)
        return table[key]
