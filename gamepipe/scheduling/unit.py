"""Whole numbers for what is shared out: sums of them neither drift nor depend on their order."""

import math
from functools import lru_cache

MILLIONTHS = 1_000_000
"""Of a core, and of the compute of a GPU."""
LEFT_STEP = 2.0**-20
"""Of what is left of a device, 0..1. Sums of whole steps are exact, in whatever order."""


@lru_cache(maxsize=4096)
def millionths(amount: float) -> int:
    """`amount` rounded up, so that nothing is handed out for free; float noise is not an amount."""
    return math.ceil(round(amount * MILLIONTHS, 3))


def whole(amount: float) -> int:
    """Of an amount what can be handed out, in whole units; float noise takes none away."""
    return math.floor(round(amount, 3))
