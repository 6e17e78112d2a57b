"""What is kept free of one node for a pipeline that fits nowhere as things are."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.amount import amounts_column
from gamepipe.scheduling.device import NOTHING, Devices
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.preemptible import Key
from gamepipe.scheduling.rule import crowding, obstacles
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import Mask, Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Counted like an allocation while it stands: the node's row, and what is kept of it."""

    row: int
    kept: Allocation
    need: Need
    making_room: tuple[str, ...] | None = None
    """Of room that pipelines of lower classes leave: those that are still there."""

    @property
    def key(self) -> Key:
        return self.kept.pipeline_id, self.kept.generation


class Reservations:
    """Those that stand in one pass over the queue; each is counted in the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._standing: list[Reservation] = []

    def __iter__(self) -> Iterator[Reservation]:
        return iter(tuple(self._standing))

    def __len__(self) -> int:
        return len(self._standing)

    def add(self, reservation: Reservation) -> None:
        self._fleet.hold(reservation.kept)
        self._standing.append(reservation)

    def drop(self, pipeline_id: str) -> None:
        """What is kept for this pipeline."""
        own = self.of(pipeline_id)
        self._free(own)
        self._standing = [one for one in self._standing if one not in own]

    def clear(self) -> None:
        self._free(self._standing)
        self._standing = []

    def of(self, pipeline_id: str) -> list[Reservation]:
        return [one for one in self._standing if one.kept.pipeline_id == pipeline_id]

    def kept_from(self, pipeline_id: str, priority: int) -> list[Reservation]:
        """Those for others, of this class or above."""
        others = [one for one in self._standing if one.kept.pipeline_id != pipeline_id]
        return [one for one in others if one.kept.priority >= priority]

    def made_for(self, priority: int, need: Need) -> list[Reservation]:
        """Room that others make for any of those who wait in the same line: its head may have
        it."""
        made = [one for one in self._standing if one.making_room is not None]
        return [one for one in made if (one.kept.priority, one.need) == (priority, need)]

    @contextmanager
    def without(self, some: Iterable[Reservation]) -> Iterator[None]:
        """As if these did not stand."""
        lifted = self._free(some)
        try:
            yield
        finally:
            for one in lifted:
                self._fleet.hold(one.kept)

    def _free(self, reservations: Iterable[Reservation]) -> list[Reservation]:
        """Those that were held, and not replaced by what their pipeline was granted since."""
        held = self._fleet.held
        found = [one for one in reservations if held.get(one.key) is one.kept]
        for one in found:
            self._fleet.free(*one.key)
        return found


def reserve(
    need: Need,
    snapshot: Snapshot,
    *,
    pipeline_id: str,
    generation: int,
    priority: int,
    since: datetime,
) -> Reservation | None:
    """What the pipeline needs, of the node on which it would fit if that were empty and which lacks
    the least of it now; then of the one with the fewest pipelines. None: it would fit on none.

    What is lacking only shrinks while nobody else may use it, so another node is preferred later
    only if that lacks even less.
    """
    candidates = _would_fit(need, snapshot)
    if not candidates.any():
        return None
    fleet = snapshot.fleet
    lack = np.where(candidates, lacking(need, fleet).round(9), np.inf)
    row = int(np.lexsort((fleet.pipelines, lack))[0])
    return keep(
        need,
        row,
        fleet.nodes[row].id,
        _devices(need.resources.gpu, fleet.devices, row),
        pipeline_id=pipeline_id,
        generation=generation,
        priority=priority,
        since=since,
    )


def keep(
    need: Need,
    row: int,
    node_id: str,
    gpu_devices: tuple[int, ...],
    *,
    pipeline_id: str,
    generation: int,
    priority: int,
    since: datetime,
) -> Reservation:
    """What the pipeline needs, of this node."""
    kept = Allocation(
        pipeline_id=pipeline_id,
        generation=generation,
        node_id=node_id,
        resources=need.resources,
        gpu_devices=gpu_devices,
        host_ports=need.host_ports,
        created_at=since,
        tenant=need.tenant,
        template=need.template,
        priority=priority,
    )
    return Reservation(row=row, kept=kept, need=need)


def lacking(need: Need, fleet: Fleet) -> Numbers:
    """[n]: the part of each node that would still have to become free, summed over resources."""
    short = np.maximum(amounts_column(need.resources) - fleet.left, 0) / np.maximum(fleet.total, 1)
    ports = np.sum([fleet.port_taken(port) for port in need.host_ports], axis=0)
    return short.sum(axis=1) + _gpus_lacking(need.resources.gpu, fleet.devices) + ports


def _gpus_lacking(request: GpuRequest, devices: Devices) -> Numbers:
    """[n]: of the emptiest devices that would do, as many as are wanted, what is in use."""
    if request.is_empty:
        return np.zeros(len(devices.left))
    in_use = np.sort(np.where(devices.suit(request), 1 - devices.left, np.inf), axis=1)
    if not request.count:  # a device that has room lacks nothing, whatever else is in use
        in_use[devices.fit(request).any(axis=1), 0] = 0.0
    counted = np.arange(devices.width) < devices.wanted(request)[:, None]
    there = np.maximum((devices.model >= 0).sum(axis=1), 1)
    return np.where(counted, in_use, 0.0).sum(axis=1) / there


def _devices(request: GpuRequest, devices: Devices, row: int) -> tuple[int, ...]:
    """The emptiest that would do, by the node's own numbers."""
    if request.is_empty:
        return ()
    rows = slice(row, row + 1)
    left = np.where(devices.suit(request, rows)[0], devices.left[row], -1.0)
    wanted = int(devices.wanted(request, rows)[0])
    slots = np.argsort(-left, kind="stable")[:wanted]
    return tuple(sorted(devices.index_of(row, int(slot)) for slot in slots))


def _would_fit(need: Need, snapshot: Snapshot) -> Mask:
    """Were each node empty; what stands against a node for what runs elsewhere stays so."""
    empty = replace(snapshot, fleet=_emptied(snapshot.fleet))
    found = [*obstacles(need, empty), *crowding(need, snapshot.fleet)]
    return ~np.logical_or.reduce([obstacle.where for obstacle in found])


def _emptied(fleet: Fleet) -> Fleet:
    """The same nodes with nothing on them; it shares their columns, and is only read."""
    empty = copy(fleet)
    empty.left = fleet.total
    empty.ports, empty.groups = {}, {}
    empty.devices = _unused(fleet.devices)
    return empty


def _unused(devices: Devices) -> Devices:
    unused = copy(devices)
    unused.used = np.zeros_like(devices.used)
    unused.whole = np.zeros_like(devices.whole)
    unused.spare = np.where(devices.model[..., None] >= 0, devices.total, NOTHING)
    unused.left = (devices.model >= 0).astype(float)
    return unused
