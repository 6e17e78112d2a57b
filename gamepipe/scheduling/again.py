"""Whether what was given back can be held once more, just as it was."""

from collections.abc import Iterable

import numpy as np

from gamepipe.model.node import GameNode
from gamepipe.model.record import Allocation
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling.amount import amounts_column
from gamepipe.scheduling.fleet import Fleet


def has_room_again(
    allocation: Allocation, fleet: Fleet, *, without: Iterable[Allocation] = ()
) -> bool:
    """On the same node, with the same devices and ports.

    Args:
        without: what the fleet holds, and nobody uses: it goes as soon as this is held.
    """
    unused = list(without)
    for one in unused:
        fleet.free(one.pipeline_id, one.generation)
    found = _has_room(allocation, fleet)
    for one in unused:
        fleet.hold(one)
    return found


def _has_room(allocation: Allocation, fleet: Fleet) -> bool:
    row = fleet.row_of.get(allocation.node_id)
    if row is None or not _is_settled(fleet.nodes[row]):
        return False
    if (amounts_column(allocation.resources) > fleet.left[row]).any():
        return False
    if any(row in fleet.ports.get(port, {}) for port in allocation.host_ports):
        return False
    return _has_devices(allocation, fleet, row)


def _is_settled(node: GameNode) -> bool:
    """Nothing runs there that nobody counts. On one that is lost nothing runs, and whoever holds it
    hears of the loss."""
    if node.connectivity is Connectivity.LOST:
        return True
    return node.state is not NodeState.DISABLED and not (node.stop_orders or node.unaccounted)


def _has_devices(allocation: Allocation, fleet: Fleet, row: int) -> bool:
    request = allocation.resources.gpu
    if request.is_empty:
        return True
    slots = fleet.devices.slots_of(row, allocation.gpu_devices)
    there = len(slots) == len(allocation.gpu_devices)
    fit = fleet.devices.fit(request, np.array([row]))[0]
    return there and bool(fit[slots].all())
