"""A container's output, line by line, exactly once, from the engine's log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gamepipe.agent.container_engine import (
    ContainerEngine,
    EngineRefused,
    EngineStream,
    EngineUnavailable,
)
from gamepipe.agent.container_position import LogPosition
from gamepipe.agent.container_stop import RETRY_SECONDS
from gamepipe.agent.runtime import LineSink
from gamepipe.model.record import LogStream

MAX_LINE_BYTES = 64 * 1024
PIECE_BYTES = 16 * 1024
"""Docker cuts longer lines into pieces of this size."""
_HEADER_BYTES = 8
_STREAMS = (LogStream.STDOUT, LogStream.STDERR)
_LEADS = ((0xE0, 0xC0), (0xF0, 0xE0), (0xF8, 0xF0))
"""(mask, value) of the first byte of a character of two, three and four bytes."""
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What the engine stored at once: a line, or a piece of a long one."""

    stream: int
    time: int
    """Nanoseconds since the epoch."""
    data: bytes

    @property
    def ends_line(self) -> bool:
        """Some engines forget the newline after the last piece; the others have one size."""
        return self.data.endswith(b"\n") or len(self.data) < PIECE_BYTES


@dataclass(slots=True)
class _OpenLine:
    """What of a stream was read but not written on yet."""

    data: bytes = b""
    times: list[int] = field(default_factory=list)


async def entries_of(stream: EngineStream, until: asyncio.Event | None) -> AsyncIterator[LogEntry]:
    """Take the multiplexed stream apart; ends with it, or when `until` is set."""
    rest = b""
    while data := await _read(stream, until):
        rest += data
        at = 0
        while len(rest) - at >= _HEADER_BYTES:
            end = at + _HEADER_BYTES + int.from_bytes(rest[at + 4 : at + _HEADER_BYTES], "big")
            if len(rest) < end:
                break
            yield _entry(rest[at], rest[at + _HEADER_BYTES : end])
            at = end
        rest = rest[at:]


async def _read(stream: EngineStream, until: asyncio.Event | None) -> bytes:
    if until is None:
        return await stream.read()
    if until.is_set():
        return b""
    reading = asyncio.ensure_future(stream.read())
    ended = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
        ended.cancel()
        await asyncio.gather(reading, ended, return_exceptions=True)


def _entry(number: int, frame: bytes) -> LogEntry:
    stamp, _, data = frame.partition(b" ")
    return LogEntry(1 if number == 2 else 0, parse_nanoseconds(stamp.decode("ascii")), data)


def parse_nanoseconds(stamp: str) -> int:
    """`2026-01-02T03:04:05.000000006Z` as nanoseconds since the epoch."""
    seconds = datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp()
    return int(seconds) * _SECOND + int(stamp[20:].rstrip("Z").ljust(9, "0") or 0)


class LogFollower:
    """Writes every line of one container to a sink, from where an earlier agent stopped."""

    def __init__(self, engine: ContainerEngine, container: str, sink: LineSink) -> None:
        self._engine = engine
        self._container = container
        self._sink = sink
        self._position = LogPosition.decode(sink.resume_position())
        self._open = [_OpenLine(data=rest) for rest in self._position.rests]
        self._unsettled: dict[int, tuple[list[int], bytes]] = {}
        """By stream: entries, and the rest, of the piece that was written last."""
        self._ended = asyncio.Event()
        self.writing_since: float | None = None
        """Loop time since when the sink has not taken a line."""

    async def follow(self) -> None:
        """Write lines as they come until `end`; goes on when the engine restarts."""
        while not self._ended.is_set():
            with contextlib.suppress(EngineUnavailable, EngineRefused):
                await self._pass_over(follow=True)
            # The engine went away, or the container ended and we are told in a moment.
            await self._pause()

    def end(self) -> None:
        """Let `follow` return after the line that it writes."""
        self._ended.set()

    async def read_rest(self, *, is_over: bool) -> None:
        """Write what the log holds beyond what was followed.

        Args:
            is_over: nothing follows any more, so an unfinished last line is written too.
        """
        while True:
            try:
                await self._pass_over(follow=False)
                break
            except EngineUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except EngineRefused as error:
                await self._tell_unreadable(error)
                break
        if is_over:
            for stream, line in enumerate(self._open):
                if line.data:
                    await self._write_line(stream, line)

    async def _tell_unreadable(self, error: EngineRefused) -> None:
        """A container that was removed under our hands has no rest."""
        if error.status not in {404, 409}:
            text = f"the rest of the output cannot be read: {error.message}"
            await self._sink.write(LogStream.SYSTEM, text, at=datetime.now(UTC))

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._ended.wait(), RETRY_SECONDS)
        except TimeoutError:
            return

    async def _pass_over(self, *, follow: bool) -> None:
        """One request for the log from our position on."""
        for number in range(len(_STREAMS)):
            self._settle(number)
        # What was read but not written on is read again.
        self._open = [_OpenLine(data=rest) for rest in self._position.rests]
        since, skips = self._position.since, self._position.skips
        until = self._ended if follow else None
        async with self._engine.stream(
            "GET",
            f"containers/{self._container}/logs",
            stdout=1,
            stderr=1,
            timestamps=1,
            follow=int(follow),
            since=f"{since // _SECOND}.{since % _SECOND:09d}",
        ) as stream:
            async for entry in entries_of(stream, until):
                if entry.time < since:
                    continue
                if skips[entry.stream]:
                    skips[entry.stream] -= 1
                    self._position.see(entry.time)
                else:
                    await self._take(entry)
                    if follow and self._ended.is_set():
                        return

    async def _take(self, entry: LogEntry) -> None:
        line = self._open[entry.stream]
        if line.data and len(line.data) + len(entry.data) > MAX_LINE_BYTES + 1:
            await self._write_piece(entry.stream)
            line = self._open[entry.stream]
        line.data += entry.data
        line.times.append(entry.time)
        if entry.ends_line:
            self._open[entry.stream] = _OpenLine()
            await self._write_line(entry.stream, line)

    async def _write_piece(self, stream: int) -> None:
        """A line grows too long: write what there is, without the character it was cut in.

        A masking sink holds the piece back until the next one of its stream, so positions of the
        other stream's lines stay before it until then.
        """
        self._settle(stream)
        line = self._open[stream]
        cut = whole_characters(line.data)
        rest = line.data[cut:]
        self._open[stream] = _OpenLine(data=rest)
        self._unsettled[stream] = (line.times, rest)
        behind = self._position.copy()
        self._advance(behind, stream, line.times, rest)
        await self._write_parts(
            stream, line.data[:cut], line.times, position=behind.encode(), continued=True
        )

    async def _write_line(self, stream: int, line: _OpenLine) -> None:
        self._settle(stream)
        self._advance(self._position, stream, line.times, b"")
        text = line.data.removesuffix(b"\n").removesuffix(b"\r")
        position = self._position.encode()
        await self._write_parts(stream, text, line.times, position=position, continued=False)

    def _settle(self, stream: int) -> None:
        """The piece that was written last is behind us for good."""
        piece = self._unsettled.pop(stream, None)
        if piece is not None:
            self._advance(self._position, stream, *piece)

    def _advance(self, position: LogPosition, stream: int, times: list[int], rest: bytes) -> None:
        position.rests[stream] = rest
        waiting = [line.times for line in self._open] + [
            times for times, _ in self._unsettled.values()
        ]
        oldest = min((time for times in waiting for time in times), default=None)
        position.advance(stream, times, oldest_pending=oldest)

    async def _write_parts(
        self, stream: int, data: bytes, times: list[int], *, position: str, continued: bool
    ) -> None:
        """Write a line or a piece; only its last part carries the position behind its entries."""
        at = datetime.fromtimestamp((times[0] if times else self._position.newest) / _SECOND, UTC)
        *first, last = _parts(data)
        for part in first:
            await self._spool(stream, part, at=at, position="", continued=True)
        await self._spool(stream, last, at=at, position=position, continued=continued)

    async def _spool(
        self, stream: int, data: bytes, *, at: datetime, position: str, continued: bool
    ) -> None:
        text = data.decode("utf-8", errors="replace")
        self.writing_since = asyncio.get_running_loop().time()
        await self._sink.write(
            _STREAMS[stream], text, at=at, position=position, continued=continued
        )
        self.writing_since = None


def whole_characters(data: bytes) -> int:
    """How many bytes of `data` hold whole UTF-8 characters; all, when its end is none anyway."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = next((n for n, (mask, lead) in enumerate(_LEADS, 2) if byte & mask == lead), 1)
        return len(data) - back if length > back else len(data)
    return len(data)


def _parts(data: bytes) -> list[bytes]:
    """Cut into parts of at most 64 KiB, between characters; at least one."""
    parts: list[bytes] = []
    while len(data) > MAX_LINE_BYTES:
        cut = whole_characters(data[:MAX_LINE_BYTES])
        parts.append(data[:cut])
        data = data[cut:]
    return [*parts, data]
