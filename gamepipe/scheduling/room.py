"""Where there is room for what a pipeline asks for, and what its taking it would leave unusable.

Both depend on the resources alone, so needs that ask for the same share them, wherever their
players are. What would be unusable takes long to work out: until a node is promising, it is enough
to know what it cannot be less than.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from gamepipe.model.spec import Resources
from gamepipe.scheduling import shortage
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Rows

KEPT_CELLS = 4_000_000
"""Requests times nodes that are kept; what was asked for the longest ago goes."""
_NOISE = 1e-5


@dataclass(kw_only=True, slots=True)
class Room:
    """On all nodes for one request, at one time of the fleet's clock."""

    clock: int
    fits: Mask
    """[n]: of nothing there is too little."""
    growth: Numbers
    """[n]: of what is unusable, in GPUs; what it is at least, where it is not `known`."""
    known: Mask
    """[n]"""


class Rooms:
    """Of one snapshot; the fleet in it may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._kept: OrderedDict[Resources, Room] = OrderedDict()

    def of(self, resources: Resources) -> Room:
        room = self._found(resources)
        fleet = self._snapshot.fleet
        if room.clock != fleet.clock:
            rows = ALL_ROWS if room.clock < 0 else fleet.changed_since(room.clock)
            where = [one.where for one in shortage.obstacles(resources, fleet, rows)]
            room.fits[rows] = ~np.logical_or.reduce(where) if where else True
            # Who takes so much of the devices makes no more than that of it usable.
            room.growth[rows] = -fleet.devices.taken(resources.gpu, rows) - _NOISE
            room.known[rows] = False
            room.clock = fleet.clock
        return room

    def learn(self, resources: Resources, rows: Rows) -> Room:
        """Work out what would be unusable on these nodes."""
        room = self.of(resources)
        room.growth[rows] = self._snapshot.fragmentation.growth(resources, rows)
        room.known[rows] = True
        return room

    def _found(self, resources: Resources) -> Room:
        room = self._kept.get(resources)
        if room is None:
            count = len(self._snapshot.fleet)
            room = Room(
                clock=-1,
                fits=np.zeros(count, dtype=bool),
                growth=np.zeros(count),
                known=np.zeros(count, dtype=bool),
            )
            self._kept[resources] = room
            while len(self._kept) * count > KEPT_CELLS and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(resources)
        return room
