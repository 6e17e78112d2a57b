"""Reading and following events, resumed behind the last seen id."""

from collections.abc import AsyncIterator

from gamepipe.model.record import StoredEvent
from gamepipe.ports import Store

BATCH = 500
POLL_SECONDS = 5.0
LAST_ID = 2**63 - 1
"""No event has a higher one, and no database takes a higher one."""


class EventReader:
    """Every event once, in the order of ids."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, *, pipeline_id: str = "", after_id: int = 0, limit: int = BATCH
    ) -> tuple[StoredEvent, ...]:
        return await self._store.events.read(
            after_id=min(after_id, LAST_ID), pipeline_id=pipeline_id, limit=limit
        )

    async def last_id(self) -> int:
        return await self._store.events.last_id()

    async def follow(
        self, *, pipeline_id: str = "", after_id: int = 0
    ) -> AsyncIterator[StoredEvent]:
        """Events as they come, without end."""
        wakeup = self._store.wakeup()
        last = after_id
        while True:
            events = await self.read(pipeline_id=pipeline_id, after_id=last)
            for event in events:
                last = event.id
                yield event
            if not events:
                await wakeup.wait(timeout_seconds=POLL_SECONDS)
