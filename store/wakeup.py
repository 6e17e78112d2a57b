"""Waking readers when any process wrote: LISTEN on PostgreSQL, `data_version` on SQLite."""

import asyncio
import contextlib
import sqlite3
from abc import ABC, abstractmethod

import psycopg
import structlog
from sqlalchemy import URL

from store.transaction import NOTIFY_CHANNEL

_log = structlog.get_logger()

SQLITE_POLL_SECONDS = 0.05
"""How long a write of another process stays unseen; one pragma costs a few microseconds."""
RECONNECT_SECONDS = 1.0


class WakeupHub(ABC):
    """Counts writes; one watcher task a process, started by the first subscriber."""

    def __init__(self) -> None:
        self.writes = 0
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was written."""
        self.writes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def subscribe(self) -> "Subscription":
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        return Subscription(self)

    async def wait(self, seen: int, seconds: float) -> None:
        """Until there are more writes than `seen`, or the time is over."""
        if self.writes == seen:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    @abstractmethod
    async def _watch(self) -> None:
        """Call `wake` for what other processes write."""


class Subscription:
    """See `gamepipe.ports.Wakeup`."""

    def __init__(self, hub: WakeupHub) -> None:
        self._hub = hub
        self._seen = hub.writes

    async def wait(self, *, timeout_seconds: float) -> bool:
        await self._hub.wait(self._seen, timeout_seconds)
        woken, self._seen = self._hub.writes != self._seen, self._hub.writes
        return woken


class SqliteHub(WakeupHub):
    """Polls `PRAGMA data_version`, which changes when another connection commits."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._path = url.database or ""

    async def _watch(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            last = None
            while True:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != last:
                    last = version
                    self.wake()
                await asyncio.sleep(SQLITE_POLL_SECONDS)


class PostgresHub(WakeupHub):
    """LISTENs on a connection of its own; wakes everybody after a reconnect, to miss nothing."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def _watch(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.OperationalError as error:
                _log.warning("store.listen_failed", action="store.listen_failed", error=str(error))
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
            self.wake()
            async for _ in connection.notifies():
                self.wake()


def hub_for(url: URL) -> WakeupHub:
    return PostgresHub(url) if url.get_backend_name() == "postgresql" else SqliteHub(url)
