"""The fleet as columns: a row a node, sorted by id. What is taken is derived from the allocations
that are held; whoever decides only reads, and only `hold`, `free` and `put` change anything."""

from bisect import bisect
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from gamepipe.model.node import GameNode, NodeMetrics
from gamepipe.model.record import Allocation
from gamepipe.scheduling.amount import amounts_column
from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.holding import Holdings, amounts_held, gpus_held
from gamepipe.scheduling.load import LOAD_GRAIN, load_of, standing_of
from gamepipe.scheduling.move import Move
from gamepipe.scheduling.policy import Capacity
from gamepipe.scheduling.preemptible import Key, Preemptibles
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import ALL_ROWS, Mask, Numbers, Rows, Some, are_few

T = TypeVar("T")
K = TypeVar("K")
CPU, MEMORY, DISK = range(3)
LOGGED = 4_096
"""As many changes at least can be told one by one."""


_COLUMNS = ("total", "left", "pipelines", "undeclared", "load", "_changed", "_node_changed")
"""Arrays with a row for each node, besides those of the devices."""


@dataclass(kw_only=True, slots=True)
class _Before:
    """What was there at a mark, of all that has changed since."""

    held: dict[Key, Allocation | None] = field(default_factory=dict)
    nodes: dict[str, GameNode] = field(default_factory=dict)


class Fleet:
    """Nodes, and what is held on them."""

    def __init__(
        self,
        nodes: Iterable[GameNode] = (),
        allocations: Iterable[Allocation] = (),
        *,
        capacity: Capacity | None = None,
    ) -> None:
        self.capacity = capacity or Capacity()
        self.nodes = sorted(nodes, key=lambda node: node.id)
        self.row_of = {node.id: row for row, node in enumerate(self.nodes)}
        count = len(self.nodes)
        self.total = np.zeros((count, 3), dtype=np.int64)
        self.left = np.zeros((count, 3), dtype=np.int64)
        """What is not held; below zero where a node shrank."""
        self.pipelines = np.zeros(count, dtype=np.int64)
        """Live allocations."""
        self.undeclared = np.zeros(count, dtype=np.int64)
        """Those of them that ask for no CPU."""
        self.devices = Devices(self.nodes, self.capacity)
        self.held: dict[Key, Allocation] = {}
        self.ports: dict[str, dict[int, int]] = {}
        """By host port the rows that use it, with how many allocations do."""
        self.groups: dict[tuple[str, str], dict[int, int]] = {}
        """Live allocations by row of each ("tenant" | "template", name)."""
        self.holdings = Holdings()
        self.preemptibles = Preemptibles(self.devices)
        self.load = np.zeros(count)
        """Measured, 0..1: the busiest of CPU, memory and GPUs."""
        self.clock = 0
        """Counts changes."""
        self._changed = np.zeros(count, dtype=np.int64)
        self._node_changed = np.zeros(count, dtype=np.int64)
        self._log: list[int] = []
        """Rows as they changed, the last ones: the clock counts them."""
        self._since: tuple[int, int, Rows] = (0, 0, np.zeros(0, dtype=np.int64))
        """Between two times of the clock what changed, as it was asked last."""
        self._columns: dict[str, object] = {}
        self._before: _Before | None = None
        self._counting = False
        """Some of the sums know of a change, and some do not."""
        for row, node in enumerate(self.nodes):
            self._set_total(row)
            self.load[row] = load_of(node)
        for allocation in allocations:
            self.hold(allocation)

    def __len__(self) -> int:
        return len(self.nodes)

    # --- changes --------------------------------------------------------------------------------

    def hold(self, allocation: Allocation) -> None:
        """Count one allocation. One that is counted already is replaced; one of a node that is not
        here is remembered."""
        self.free(allocation.pipeline_id, allocation.generation)
        self.held[allocation.pipeline_id, allocation.generation] = allocation
        self._count(allocation, 1)

    def free(self, pipeline_id: str, generation: int) -> None:
        """Forget one allocation; nothing happens when it is not held."""
        key = (pipeline_id, generation)
        if self._before is not None:
            self._before.held.setdefault(key, self.held.get(key))
        allocation = self.held.pop(key, None)
        if allocation is not None:
            self._count(allocation, -1)

    def put(self, node: GameNode) -> None:
        """New facts, state, labels or place of a node that is here."""
        row = self.row_of[node.id]
        before, self.nodes[row] = self.nodes[row], node
        if self._before is not None:
            self._before.nodes.setdefault(node.id, before)
        self._counting = True
        self.load[row] = load_of(node)
        if before.facts != node.facts:
            self._set_total(row)
            self.devices.put(row, node.facts.gpus)
            for held in self.held.values():
                if held.node_id == node.id:
                    self.devices.count(row, held.resources.gpu, held.gpu_devices, 1)
            self.preemptibles.recount(row)
        if standing_of(before) != standing_of(node):
            self._columns.clear()
        self._touch_node(row)
        self._counting = False

    def measure(self, node_id: str, metrics: NodeMetrics) -> None:
        """What a node of the fleet measured of late."""
        row = self.row_of[node_id]
        self.nodes[row] = replace(self.nodes[row], metrics=metrics)
        load = load_of(self.nodes[row])
        if abs(load - self.load[row]) > LOAD_GRAIN:
            self.load[row] = load
            self._touch_node(row)

    def joined(self, nodes: Iterable[GameNode]) -> "Fleet":
        """Another fleet, with nodes that are not here, too; whoever knew this one knows nothing of
        that one."""
        new = sorted(nodes, key=lambda node: node.id)
        ids = [node.id for node in self.nodes]
        move = Move(count=len(ids), before=[bisect(ids, node.id) for node in new])
        fleet = copy(self)
        fleet.nodes = sorted([*self.nodes, *new], key=lambda node: node.id)
        fleet.row_of = {node.id: row for row, node in enumerate(fleet.nodes)}
        for name in _COLUMNS:
            setattr(fleet, name, move.column(getattr(self, name)))
        fleet.devices = self.devices.moved(move)
        fleet.preemptibles = self.preemptibles.moved(move, fleet.devices)
        fleet.ports = {port: move.keys(rows) for port, rows in self.ports.items()}
        fleet.groups = {group: move.keys(rows) for group, rows in self.groups.items()}
        fleet.held, fleet.holdings = dict(self.held), self.holdings.copy()
        fleet._log, fleet._columns, fleet._before = [], {}, None
        fleet._receive(new)
        return fleet

    def _receive(self, nodes: Iterable[GameNode]) -> None:
        """They are here from now on; what is held of them was only remembered."""
        rows = {node.id: self.row_of[node.id] for node in nodes}
        for row in rows.values():
            self._set_total(row)
            self.load[row] = load_of(self.nodes[row])
            self.devices.put(row, self.nodes[row].facts.gpus)
        for held in self.held.values():
            if held.node_id in rows:
                self._count(held, 1)
        self.clock += 1
        self._changed[:] = self._node_changed[:] = self.clock
        self._log.clear()

    def mark(self) -> None:
        """From here `go_back` goes back."""
        self._before = _Before()

    def go_back(self) -> bool:
        """Be again what it was at the mark, by undoing what was changed since. False: it cannot,
        for there is no mark, or a change was broken off in its middle."""
        before, self._before = self._before, None
        if before is None or self._counting:
            return False
        for node in before.nodes.values():
            self.put(node)
        for key, allocation in before.held.items():
            if self.held.get(key) is not allocation:
                self.free(*key)
                if allocation is not None:
                    self.hold(allocation)
        return True

    def _touch_node(self, row: int) -> None:
        self._touch(row)
        self._node_changed[row] = self.clock

    def _touch(self, row: int) -> None:
        self.clock += 1
        self._changed[row] = self.clock
        self._log.append(row)
        if len(self._log) > 2 * LOGGED:
            del self._log[:LOGGED]

    def _set_total(self, row: int) -> None:
        facts = self.nodes[row].facts
        whole = (facts.cpu * MILLIONTHS, facts.memory_bytes, facts.disk_bytes)
        total = self.capacity.of(whole)
        self.left[row] += total - self.total[row]
        self.total[row] = total

    def _count(self, allocation: Allocation, sign: int) -> None:
        row = self.row_of.get(allocation.node_id)
        if row is None:
            return
        self._counting = True
        self.left[row] -= sign * amounts_column(allocation.resources)
        self.pipelines[row] += sign
        self.undeclared[row] += sign * (not allocation.resources.cpu)
        self.devices.count(row, allocation.resources.gpu, allocation.gpu_devices, sign)
        for port in allocation.host_ports:
            _tally(self.ports, port, row, sign)
        for group in (("tenant", allocation.tenant), ("template", allocation.template)):
            _tally(self.groups, group, row, sign)
        self._hold_for_tenant(allocation, row, sign)
        (self.preemptibles.take if sign > 0 else self.preemptibles.give)(row, allocation)
        self._touch(row)
        self._counting = False

    def _hold_for_tenant(self, allocation: Allocation, row: int, sign: int) -> None:
        key = (allocation.pipeline_id, allocation.generation)
        if sign < 0:
            self.holdings.give(key, allocation.tenant)
            return
        totals = self.devices.totals_of(row, allocation.gpu_devices)
        gpus = gpus_held(allocation.resources.gpu, totals)
        self.holdings.take(key, allocation.tenant, amounts_held(allocation.resources, gpus))

    # --- columns --------------------------------------------------------------------------------

    def port_taken(self, port: str) -> Mask:
        taken = np.zeros(len(self), dtype=bool)
        taken[list(self.ports.get(port, ()))] = True
        return taken

    def in_group(self, kind: str, name: str) -> Numbers:
        """[node]: live allocations of a tenant or a template."""
        counts = np.zeros(len(self))
        for row, count in self.groups.get((kind, name), {}).items():
            counts[row] = count
        return counts

    def count_group(self, kind: str, name: str) -> int:
        """Live allocations of a tenant or a template on all nodes."""
        return sum(self.groups.get((kind, name), {}).values())

    def column(self, name: str, make: Callable[["Fleet"], T]) -> T:
        """What `make` says of the nodes, kept until one of them changes."""
        if name not in self._columns:
            self._columns[name] = make(self)
        return self._columns[name]  # type: ignore[return-value]  # what `make` gave

    def that(self, name: str, test: Callable[[GameNode], bool], rows: Some = ALL_ROWS) -> Mask:
        """Nodes that pass a test, which has this name; it is asked of each node once."""
        if are_few(rows) and name not in self._columns:
            return np.array([test(self.nodes[row]) for row in rows], dtype=bool)

        def make(fleet: "Fleet") -> Mask:
            return np.array([test(node) for node in fleet.nodes], dtype=bool)

        return self.column(name, make)[rows]

    def changed_since(self, clock: int) -> Rows:
        """Rows that changed behind a `clock` of before, in order. Only to be read: who asks next is
        told the same."""
        if self._since[:2] != (clock, self.clock):
            self._since = clock, self.clock, self._rows_since(clock)
        return self._since[2]

    def _rows_since(self, clock: int) -> Rows:
        since = self.clock - clock
        if since > len(self._log):
            return np.flatnonzero(self._changed > clock)
        return np.array(sorted(set(self._log[len(self._log) - since :])), dtype=np.int64)

    def with_new_node(self, rows: Rows, clock: int) -> Rows:
        """Those of the rows whose node itself changed since, not only what is held on it."""
        return rows[self._node_changed[rows] > clock]


def _tally(table: dict[K, dict[int, int]], key: K, row: int, sign: int) -> None:
    rows = table.setdefault(key, {})
    rows[row] = rows.get(row, 0) + sign
    if not rows[row]:
        del rows[row]
    if not rows:
        del table[key]
