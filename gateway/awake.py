"""A clock that stands still while this process does: SIGSTOP, a suspended machine, a long pause."""

import asyncio
import time
from collections.abc import Callable

TICK_SECONDS = 0.2
LONGEST_TICK_SECONDS = 0.5
"""More time than that between two looks was no time in which this process could hear anybody."""


class AwakeClock:
    """Seconds since it was made in which this process ran; what is silent is judged by them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last = monotonic()
        self._seconds = 0.0

    def time(self) -> float:
        now = self._monotonic()
        self._seconds += min(now - self._last, LONGEST_TICK_SECONDS)
        self._last = now
        return self._seconds

    async def run(self) -> None:
        """Look often enough, until cancelled."""
        while True:
            self.time()
            await asyncio.sleep(TICK_SECONDS)
