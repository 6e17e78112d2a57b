"""Whole numbers for what is shared out: sums of them neither drift nor depend on their order."""

import math

MILLIONTHS = 1_000_000
"""Of a core, and of the compute of a GPU."""


def millionths(amount: float) -> int:
    """`amount` rounded up, so that nothing is handed out for free; float noise is not an amount."""
    return math.ceil(round(amount * MILLIONTHS, 3))


def whole(amount: float) -> int:
    """Of an amount what can be handed out, in whole units; float noise takes none away."""
    return math.floor(round(amount, 3))
