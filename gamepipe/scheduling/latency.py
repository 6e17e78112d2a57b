"""How far nodes are from players, in milliseconds of round trip."""

from dataclasses import dataclass

import numpy as np

from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.values import Mask, Numbers


@dataclass(frozen=True, kw_only=True)
class Latency:
    """From one region of players to every node, in the order of the fleet."""

    ms: Numbers
    """[n]; NaN where nothing is known."""
    measured: Mask
    """[n]: from probes; the others are predicted."""


class Latencies:
    """By region of players."""

    def toward(self, region: str, fleet: Fleet) -> Latency:
        del region
        return Latency(ms=np.full(len(fleet), np.nan), measured=np.zeros(len(fleet), dtype=bool))
