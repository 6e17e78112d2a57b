"""How many steps run at the same time; the runner limits them, not Temporal's worker slots."""

import asyncio


class StepSlots:
    """Counts running steps. `take` never fails: what runs already counts even above the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        return self._used

    async def wait_and_take(self) -> None:
        """Wait until a slot is free and take it."""
        while self._used >= self._limit:
            self._freed.clear()
            await self._freed.wait()
        self.take()

    def take(self) -> None:
        self._used += 1

    def give_back(self) -> None:
        self._used -= 1
        self._freed.set()
