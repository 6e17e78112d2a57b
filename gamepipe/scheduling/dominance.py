"""What a tenant holds of the fleet: of the resource of which it holds the most (Dominant Resource
Fairness, Ghodsi et al., NSDI'11). What is reserved for it counts, too."""

import numpy as np

from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.standing import DECIMALS
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import Amounts


def weighed_share(tenant: str, fleet: Fleet, policy: OrderPolicy) -> float:
    """Its share for its weight: the less, the sooner it is its turn."""
    share, _ = dominant(tenant, fleet)
    return round(share / policy.weight(tenant), DECIMALS)


def dominant(tenant: str, fleet: Fleet) -> tuple[float, int]:
    """The largest share that it holds of any resource of the fleet, 0..1, and of which one (by
    `holding.NAMES`)."""
    shares = fleet.holdings.of(tenant) / fleet.column("whole", _whole)
    return float(shares.max()), int(shares.argmax())


def _whole(fleet: Fleet) -> Amounts:
    """[4]: of all nodes; at least 1."""
    gpus = int((fleet.devices.model >= 0).sum()) * MILLIONTHS
    return np.maximum([*fleet.total.sum(axis=0), gpus], 1)
