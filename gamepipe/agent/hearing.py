"""When this agent was heard: silence counts from the last word that is known to have arrived."""

import time


class Hearing:
    """Knows when what was heard had been said."""

    def __init__(self) -> None:
        self._heard_at = time.monotonic()
        self._unheard: dict[int, float] = {}

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._heard_at

    def answered(self) -> None:
        """A call was answered just now: whatever was said before on a stream is of the past."""
        self._heard_at = time.monotonic()
        self._unheard.clear()

    def said(self, number: int) -> None:
        """Something is said now, under a number that is higher than those before."""
        self._unheard[number] = time.monotonic()

    def heard(self, number: int) -> None:
        """It arrived; so did, or never will, what was said before it."""
        self._heard_at = max(self._heard_at, self._unheard.get(number, 0.0))
        self._unheard = {one: at for one, at in self._unheard.items() if one > number}
