"""How readers in any process hear of writes."""

from typing import Protocol


class Wakeup(Protocol):
    """Tells readers in any process that something was written: `events` or `logs`."""

    async def wait(self, *, timeout_seconds: float) -> bool:
        """Wait for a write since the last call (True) or the timeout (False)."""
