"""Log lines of many streams, written together: a group commit."""

import asyncio
from collections import deque

import structlog

from gamepipe.logchunk import LogChunk
from gamepipe.model.errors import GamePipeError, Unavailable
from gateway.agents import AgentService

_log = structlog.get_logger()

AT_ONCE = 1024
"""Chunks that share one transaction at most."""


class LineWriter:
    """What comes while one transaction runs shares the next: the busier, the larger."""

    def __init__(self, agents: AgentService) -> None:
        self._agents = agents
        self._waiting: deque[tuple[LogChunk, asyncio.Future[int]]] = deque()
        self._arrived = asyncio.Event()

    def add(self, chunk: LogChunk) -> "asyncio.Future[int]":
        """The last stored number of the attempt, once the chunk's transaction is through; or the
        error that it ended with."""
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        written.add_done_callback(_seen)  # whoever asked may be gone
        self._waiting.append((chunk, written))
        self._arrived.set()
        return written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            await self._write([one for one in batch if not one[1].cancelled()])

    async def _write(self, batch: "list[tuple[LogChunk, asyncio.Future[int]]]") -> None:
        try:
            stored = await self._agents.append_logs([chunk for chunk, _ in batch])
        except Unavailable as error:
            _fail(batch, error)
        except Exception as error:
            await self._write_apart(batch, error)
        else:
            for (_, written), last_number in zip(batch, stored, strict=True):
                if not written.done():
                    written.set_result(last_number)

    async def _write_apart(
        self, batch: "list[tuple[LogChunk, asyncio.Future[int]]]", error: Exception
    ) -> None:
        """One bad chunk must cost nobody else's lines."""
        if len(batch) > 1:
            for one in batch:
                await self._write([one])
            return
        if not isinstance(error, GamePipeError):
            _log.error("lines.unwritten", action="lines.unwritten", exc_info=error)
        _fail(batch, error)


def _fail(batch: "list[tuple[LogChunk, asyncio.Future[int]]]", error: Exception) -> None:
    for _, written in batch:
        if not written.done():
            written.set_exception(error)


def _seen(written: "asyncio.Future[int]") -> None:
    if not written.cancelled():
        written.exception()
