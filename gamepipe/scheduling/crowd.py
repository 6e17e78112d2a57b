"""How many pipelines of the same tenant or template run at the same place."""

import numpy as np

from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.label import column_of
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.values import Numbers


def crowd(need: Need, fleet: Fleet) -> Numbers:
    """[n]: live allocations of the need's group on all nodes with the same value of what it is to
    be spread over."""
    column = column_of(fleet, need.placement.spread)
    counts = fleet.in_group(need.placement.spread_by, need.group)
    totals = np.zeros(len(column.values))
    np.add.at(totals, column.codes, counts)
    return totals[column.codes]
