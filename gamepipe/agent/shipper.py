"""Ships spooled lines to the gateway: at least once, until each is acknowledged."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from gamepipe.agent.channel import GatewayChannel, describe
from gamepipe.agent.spool import AttemptSpool
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.backoff import backoff
from gamepipe.limit import LOG_REQUEST_BYTES, UNACKNOWLEDGED_REQUESTS
from gamepipe.logchunk import LogChunk
from gamepipe.model.record import AttemptKey, LogLine
from gamepipe.v1 import log_pb2, node_pb2
from gamepipe.wire.message import key_message

_log = structlog.get_logger()

MAX_UNACKNOWLEDGED = UNACKNOWLEDGED_REQUESTS
CHUNK_BYTES = 512 * 1024
"""Well below the 1 MiB that a request may have: times and numbers come on top of the text."""
GATHER_SECONDS = 0.05
"""New lines wait this long for others to share a request."""


class _Sent(NamedTuple):
    spool: AttemptSpool
    first: int


class LogShipper:
    """One stream to the gateway, opened again whenever it breaks."""

    def __init__(self, channel: GatewayChannel, node_id: str, spools: SpoolFolder) -> None:
        self._channel = channel
        self._node_id = node_id
        self._spools = spools
        self._sent: dict[AttemptKey, int] = {}
        """Last number on its way, by attempt."""
        self._waiting: deque[_Sent] = deque()
        self._room = asyncio.Semaphore(MAX_UNACKNOWLEDGED)

    async def run(self) -> None:
        """Ship until cancelled."""
        self._spools.open_leftovers()
        waits = backoff()
        while True:
            try:
                async for _ in self._ship():
                    waits = backoff()  # It was acknowledged: the way is open.
            except grpc.aio.AioRpcError as error:
                _log.info("logs.unshipped", action="logs.unshipped", error=describe(error))
            except OSError as error:
                _log.error("spool.unreadable", action="spool.unreadable", error=str(error))
            await asyncio.sleep(next(waits))

    async def _ship(self) -> AsyncIterator[None]:
        """One stream; yields at every acknowledgement. Ends or raises when it breaks."""
        self._sent.clear()
        self._waiting.clear()
        self._room = asyncio.Semaphore(MAX_UNACKNOWLEDGED)
        await self._until_lines()
        call = self._channel.stub.PushLogs(metadata=self._channel.metadata())
        writer = asyncio.create_task(self._write(call))
        try:
            while isinstance(answer := await call.read(), node_pb2.PushLogsResponse):
                self._take(answer)
                yield
        finally:
            writer.cancel()
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(
        self,
        call: "grpc.aio.StreamStreamCall[node_pb2.PushLogsRequest, node_pb2.PushLogsResponse]",
    ) -> None:
        while True:
            self._spools.arrived.clear()
            for spool in self._spools.all():
                while request := await self._next(spool):
                    await call.write(request)
            if not self._spools.arrived.is_set():
                await self._spools.arrived.wait()
                await asyncio.sleep(GATHER_SECONDS)

    async def _next(self, spool: AttemptSpool) -> node_pb2.PushLogsRequest | None:
        """The next lines of an attempt, when there is room for a request; a spool that is done
        goes."""
        self._discard_if_done(spool)
        sent = self._sent.get(spool.key, spool.acknowledged)
        if sent >= spool.last_number:
            return None
        await self._room.acquire()
        sent = self._sent.get(spool.key, spool.acknowledged)
        lines = spool.read(sent + 1, max_bytes=CHUNK_BYTES)
        if not lines:
            self._room.release()
            return None
        request = self._request(spool, lines)
        while request.ByteSize() > LOG_REQUEST_BYTES:  # lines that do not compress
            lines = lines[: len(lines) // 2]
            request = self._request(spool, lines)
        self._waiting.append(_Sent(spool, lines[0].number))
        self._sent[spool.key] = lines[-1].number
        return request

    def _request(self, spool: AttemptSpool, lines: Sequence[LogLine]) -> node_pb2.PushLogsRequest:
        return node_pb2.PushLogsRequest(
            node_id=self._node_id,
            key=key_message(spool.key),
            packed=_packed(LogChunk.of(spool.key, lines, spool.series)),
            series=spool.series,
            session=self._channel.session,
            session_key=self._channel.session_key,
        )

    def _take(self, answer: node_pb2.PushLogsResponse) -> None:
        """Acknowledgements come in the order of the requests."""
        spool, first = self._waiting.popleft()
        self._room.release()
        if answer.last_number + 1 < first:
            self._go_back(spool, answer.last_number)
        spool.acknowledge(answer.last_number)
        self._discard_if_done(spool)

    def _go_back(self, spool: AttemptSpool, stored: int) -> None:
        """The gateway misses lines before these: send again from where it stands."""
        oldest = spool.read(stored + 1, max_bytes=1)
        if oldest and oldest[0].number > stored + 1:
            _log.error(
                "logs.lost",
                action="logs.lost",
                pipeline_id=spool.key.pipeline_id,
                step=spool.key.step_index,
                attempt=spool.key.attempt,
                error=f"the gateway lost lines {stored + 1} to {oldest[0].number - 1}, "
                "acknowledged before: was its store restored from a backup?",
            )
            spool.acknowledge(spool.last_number)
            return
        spool.take_back(stored)
        self._sent[spool.key] = stored
        self._spools.arrived.set()

    def _discard_if_done(self, spool: AttemptSpool) -> None:
        if spool.ended and spool.is_drained and self._spools.get(spool.key) is spool:
            self._sent.pop(spool.key, None)
            self._spools.discard(spool)

    async def _until_lines(self) -> None:
        """No stream is opened before there is something to send."""
        while True:
            self._spools.arrived.clear()
            for spool in self._spools.all():
                self._discard_if_done(spool)
            if any(not spool.is_drained for spool in self._spools.all()):
                return
            await self._spools.arrived.wait()


def _packed(chunk: LogChunk) -> log_pb2.PackedLines:
    last_at = Timestamp()
    last_at.FromDatetime(chunk.last_at)
    return log_pb2.PackedLines(
        first=chunk.first, count=chunk.count, last_at=last_at, data=chunk.data
    )
