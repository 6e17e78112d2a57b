"""Whether who speaks for a node is its newest agent."""

import time
from collections.abc import Awaitable, Callable

from gamepipe.model.errors import Forbidden

FRESH_SECONDS = 1.0
"""How long an answer of the store counts for log lines: they come all the time."""


class SessionCheck:
    """Asks the store for the newest session of a node; an agent that was superseded has no say."""

    def __init__(self, newest: Callable[[str], Awaitable[int]]) -> None:
        self._newest = newest
        self._known: dict[str, tuple[int, float]] = {}

    async def check(self, node_id: str, session: int) -> None:
        """By what was known a moment ago. Raises `Forbidden`."""
        newest, until = self._known.get(node_id, (0, 0.0))
        if newest != session or time.monotonic() > until:
            await self.check_now(node_id, session)

    async def check_now(self, node_id: str, session: int) -> None:
        """Raises `Forbidden` for any session but the newest, and for a node that has none."""
        newest = await self._newest(node_id)
        if newest:
            self._known[node_id] = newest, time.monotonic() + FRESH_SECONDS
        if not newest or newest != session:
            raise Forbidden(
                f"session {session} is not the newest of node {node_id!r}: send the one that "
                "Register returned; an agent that was superseded has no say",
                node_id=node_id,
            )
