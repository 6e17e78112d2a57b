"""Seconds that something took."""

import time
from collections.abc import Awaitable


async def timed(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun
