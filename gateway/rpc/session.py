"""Whether who speaks for a node is its newest agent."""

import time
from collections.abc import Awaitable, Callable

from gamepipe.model.errors import Forbidden, LeaseLost, NotFound
from gamepipe.ports import NodeSession

FRESH_SECONDS = 1.0
"""How long an answer of the store counts for log lines: they come all the time."""


class SessionCheck:
    """Asks the store whether a session is its node's newest; an agent that was superseded has no
    say."""

    def __init__(self, ask: Callable[[NodeSession], Awaitable[None]]) -> None:
        self._ask = ask
        self._known: dict[str, tuple[NodeSession, float]] = {}

    async def check(self, session: NodeSession) -> None:
        """By what was known a moment ago. Raises as `check_now` does."""
        known, until = self._known.get(session.node_id, (None, 0.0))
        if known != session or time.monotonic() > until:
            await self.check_now(session)

    async def check_now(self, session: NodeSession) -> None:
        """Raises `Forbidden` for any session but the newest, for one without its key, and for a
        node that has none; `SessionUnknown` for one that the store has forgotten."""
        try:
            await self._ask(session)
        except (LeaseLost, NotFound):
            raise Forbidden(
                f"session {session.number} is not the newest of node {session.node_id!r}: send the "
                "one that Register returned; an agent that was superseded has no say",
                node_id=session.node_id,
            ) from None
        self._known[session.node_id] = session, time.monotonic() + FRESH_SECONDS
