"""Where a need would fit, were some of what is held gone."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from gamepipe.model.record import Allocation
from gamepipe.scheduling import shortage
from gamepipe.scheduling.crowd import crowd
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.label import column_of
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.preemptible import Held
from gamepipe.scheduling.rule import obstacles_besides_shortage
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Amounts, Mask, Rows


@dataclass(kw_only=True, slots=True)
class Gone:
    """What is taken off nodes, a row each."""

    held: Held
    ports: Amounts
    """[c, p]: of each host port that is needed, how many users."""
    crowd: Amounts
    """[c]: how many of the group that the need is spread by."""

    def of(self, sets: Rows) -> "Gone":
        """[s, ...] of [s, k]: sums of the rows in each set."""
        held = self.held
        return Gone(
            held=Held(
                amounts=held.amounts[sets].sum(axis=1),
                shares=held.shares[sets].sum(axis=1),
                whole=held.whole[sets].sum(axis=1),
            ),
            ports=self.ports[sets].sum(axis=1),
            crowd=self.crowd[sets].sum(axis=1),
        )


class Departure:
    """Of one need, in a fleet that those which are leaving already have left, if they were asked
    later than `since`."""

    def __init__(self, need: Need, snapshot: Snapshot, since: datetime | None = None) -> None:
        self._need, self._fleet = need, snapshot.fleet
        self._coming = snapshot.fleet.preemptibles.coming(since)
        self._stuck = self._rows_of_stuck()
        self._open = _open(need, snapshot)
        self._left = self._all_leaving()
        self._taken = self._ports_taken() - self._left.ports
        self._crowd = self._crowded()

    def fits(self, rows: Rows, gone: Gone) -> Mask:
        """[c]: on each of these nodes, which may come more than once, without what is gone."""
        crowded = self._crowd[rows] - gone.crowd >= self._most
        return self._open[rows] & ~crowded & self._has_room(rows, gone)

    def fits_without(self, highest: int) -> Mask:
        """[n]: on each node, without all that is preemptible up to this class. Of a need that was
        asked about before, only nodes that changed since are looked at."""
        fleet, need = self._fleet, self._need
        kept = fleet.preemptibles.room_for((need.resources, need.host_ports, highest))
        changed = np.arange(len(fleet)) if kept.clock < 0 else fleet.changed_since(kept.clock)
        rows = np.union1d(changed, self._stuck)
        if len(rows):
            kept.enough[rows] = self._has_room(rows, self._gone_to(highest, rows))
        kept.clock = fleet.clock
        return self._open & ~self._is_crowded_without(highest) & kept.enough

    def _has_room(self, rows: Rows, gone: Gone) -> Mask:
        held = gone.held.plus(self._left.held.at(rows))
        without = _without(self._fleet, rows, held)
        found = [one.where for one in shortage.obstacles(self._need.resources, without, ALL_ROWS)]
        return ~np.logical_or.reduce([(self._taken[rows] > gone.ports).any(axis=1), *found])

    def devices(self, row: int, gone: Gone) -> tuple[int, ...]:
        """The node's own numbers of the devices that the need would get there."""
        held = gone.held.plus(self._left.held.at(np.array([row])))
        devices = _without(self._fleet, np.array([row]), held).devices
        picked, _ = devices.picked(self._need.resources.gpu)
        return tuple(devices.index_of(row, int(slot)) for slot in np.flatnonzero(picked[0]))

    def nothing(self, count: int) -> Gone:
        """[c]"""
        return Gone(
            held=Held.nothing(count, self._fleet.devices.width),
            ports=np.zeros((count, len(self._need.host_ports)), dtype=np.int64),
            crowd=np.zeros(count, dtype=np.int64),
        )

    def gone(self, allocations: Sequence[Allocation | None]) -> Gone:
        """[c]: each of them by itself; None: nothing."""
        found = self.nothing(len(allocations))
        for at, allocation in enumerate(allocations):
            if allocation is not None:
                self._count(found, at, allocation)
        return found

    # --- the need -------------------------------------------------------------------------------

    @property
    def _most(self) -> float:
        wanted = self._need.placement
        return np.inf if not wanted.spread or wanted.spread_most is None else wanted.spread_most

    def _count(self, gone: Gone, at: int, allocation: Allocation) -> None:
        devices = self._fleet.devices
        slots = devices.slots_of(self._fleet.row_of[allocation.node_id], allocation.gpu_devices)
        gone.held.count(at, allocation, slots)
        for place, port in enumerate(self._need.host_ports):
            gone.ports[at, place] += port in allocation.host_ports
        gone.crowd[at] += self._is_in_group(allocation)

    def _gone_to(self, highest: int, rows: Rows) -> Gone:
        """[c]: of each of these nodes all that is preemptible up to this class."""
        fleet, found = self._fleet, self.nothing(len(rows))
        found.held = fleet.preemptibles.held_up_to(highest, rows)
        for place, port in enumerate(self._need.host_ports):
            users = fleet.ports.get(port, {})
            for at, row in enumerate(rows.tolist()):
                if row in users:
                    here = fleet.preemptibles.on(row, highest)
                    found.ports[at, place] = sum(port in one.host_ports for one in here)
        return found

    def _is_crowded_without(self, highest: int) -> Mask:
        """[n]: without those of each node, wherever else others are."""
        gone, need = np.zeros_like(self._crowd), self._need
        if not np.isinf(self._most):
            for row in self._fleet.groups.get((need.placement.spread_by, need.group), ()):
                here = self._fleet.preemptibles.on(row, highest)
                gone[row] = sum(map(self._is_in_group, here))
        crowded: Mask = self._crowd - gone >= self._most
        return crowded

    def _is_in_group(self, allocation: Allocation) -> bool:
        by_tenant = self._need.placement.spread_by == "tenant"
        return (allocation.tenant if by_tenant else allocation.template) == self._need.group

    def _all_leaving(self) -> Gone:
        """[n]"""
        left = self.nothing(len(self._fleet))
        for allocation in self._coming:
            self._count(left, self._fleet.row_of[allocation.node_id], allocation)
        return left

    def _rows_of_stuck(self) -> Rows:
        """Of nodes that somebody leaves on whom nobody counts any more: time alone says so."""
        coming = {(one.pipeline_id, one.generation) for one in self._coming}
        leaving = self._fleet.preemptibles.leaving.items()
        nodes = [one.node_id for key, one in leaving if key not in coming]
        return np.array([self._fleet.row_of[node_id] for node_id in nodes], dtype=np.int64)

    def _ports_taken(self) -> Amounts:
        """[n, p]"""
        taken = self.nothing(len(self._fleet)).ports
        for at, port in enumerate(self._need.host_ports):
            for row, count in self._fleet.ports.get(port, {}).items():
                taken[row, at] = count
        return taken

    def _crowded(self) -> Amounts:
        """[n]: of the group at the place of each node, once those that are leaving have left."""
        if np.isinf(self._most):
            return self._left.crowd
        column = column_of(self._fleet, self._need.placement.spread)
        left = np.zeros(len(column.values), dtype=np.int64)
        np.add.at(left, column.codes, self._left.crowd)
        return crowd(self._need, self._fleet).astype(np.int64) - left[column.codes]


def _open(need: Need, snapshot: Snapshot) -> Mask:
    """[n]: nothing stands in the way but what is held."""
    unused = copy(snapshot.fleet)
    unused.ports = {}
    found = obstacles_besides_shortage(need, replace(snapshot, fleet=unused), ALL_ROWS)
    closed = [np.zeros(len(unused), dtype=bool), *(obstacle.where for obstacle in found)]
    return ~np.logical_or.reduce(closed)


def _without(fleet: Fleet, rows: Rows, held: Held) -> Fleet:
    """Some nodes, with less held of each. It is only read."""
    less = copy(fleet)
    less.total, less.left = fleet.total[rows], fleet.left[rows] + held.amounts
    less.devices = fleet.devices.without(rows, held.shares, held.whole)
    return less
