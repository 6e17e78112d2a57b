"""Which node is kept free for a pipeline that fits nowhere as things are."""

from copy import copy
from dataclasses import replace

import numpy as np

from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.fleet import Fleet, amounts_of
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.rule import crowding, obstacles
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import Mask, Numbers


def node_to_reserve(need: Need, snapshot: Snapshot, taken: Mask) -> int | None:
    """The row of the node on which it would fit if that were empty, and which lacks the least now;
    then the one with the fewest pipelines. None: it would not fit on any that is not `taken`.

    What is lacking only shrinks while nobody else may use the node, so another one is preferred
    later only if it lacks even less.
    """
    candidates = _would_fit(need, snapshot) & ~taken
    if not candidates.any():
        return None
    fleet = snapshot.fleet
    lack = np.where(candidates, lacking(need, fleet).round(9), np.inf)
    return int(np.lexsort((fleet.pipelines, lack))[0])


def lacking(need: Need, fleet: Fleet) -> Numbers:
    """[n]: the part of each node that would still have to become free, summed over resources."""
    short = np.maximum(amounts_of(need.resources) - fleet.left, 0) / np.maximum(fleet.total, 1)
    request = need.resources.gpu
    gpus = np.zeros(len(fleet))
    if not request.is_empty:
        wanted = fleet.devices.wanted(request)
        missing = np.maximum(wanted - fleet.devices.fit(request).sum(axis=1), 0)
        there = np.maximum((fleet.devices.model >= 0).sum(axis=1), 1)
        gpus = missing / there
        if not request.count:  # of one device: the fullest of those that lack the least
            gpus = np.where(missing > 0, 1 - fleet.devices.left.max(axis=1, initial=0), 0) / there
    ports = np.sum([fleet.port_taken(port) for port in need.host_ports], axis=0)
    return short.sum(axis=1) + gpus + ports


def _would_fit(need: Need, snapshot: Snapshot) -> Mask:
    """Were each node empty; what stands against a node for what runs elsewhere stays so."""
    empty = replace(snapshot, fleet=_emptied(snapshot.fleet))
    found = [*obstacles(need, empty), *crowding(need, snapshot.fleet)]
    return ~np.logical_or.reduce([obstacle.where for obstacle in found])


def _emptied(fleet: Fleet) -> Fleet:
    """The same nodes with nothing on them; it shares their columns, and is only read."""
    empty = copy(fleet)
    empty.used = np.zeros_like(fleet.used)
    empty.ports, empty.groups = {}, {}
    empty.devices = _unused(fleet.devices)
    return empty


def _unused(devices: Devices) -> Devices:
    unused = copy(devices)
    unused.used = np.zeros_like(devices.used)
    unused.whole = np.zeros_like(devices.whole)
    unused.left = (devices.model >= 0).astype(float)
    return unused
