"""Log lines on disk until the gateway acknowledged them; bounded by slowing the step down."""

import asyncio
import contextlib
import shutil
import uuid
from datetime import datetime
from pathlib import Path

import structlog

from gamepipe.agent.folder import sync
from gamepipe.agent.piece import cut
from gamepipe.agent.segment import Segment, decode, encode
from gamepipe.agent.spool_limit import SpoolLimits
from gamepipe.model.record import AttemptKey, LogLine, LogStream

_log = structlog.get_logger()
_ENDED = "ended"
_SERIES = "series"
RUNS_ANEW = "an earlier run of this attempt was stopped; what follows is a new one"
_LEVELS = 4
"""Folders above an attempt's, up to the one of all spools."""
_READ_MARGIN = 128 * 1024
"""More than the longest frame, so that one read always holds a whole line."""


class AttemptSpool:
    """Lines of one attempt, numbered from 1; a `LineSink`."""

    def __init__(
        self, key: AttemptKey, folder: Path, limits: SpoolLimits, arrived: asyncio.Event
    ) -> None:
        self.key = key
        self._folder = folder
        self._limits = limits
        self._segments = [Segment.recover(path) for path in sorted(folder.glob("*.seg"))]
        self._drop_broken()
        self.acknowledged = self._segments[0].first - 1 if self._segments else 0
        self.ended = (folder / _ENDED).exists()
        self.series = self._read_series()
        """Names this numbering; an attempt that is run anew may begin another."""
        self._arrived = arrived
        self._room = asyncio.Event()
        self._unbounded = False
        self._cursor: tuple[int, Segment, int] | None = None
        """(next number, its segment, offset there) behind the last read."""

    # --- writing --------------------------------------------------------------------------------

    async def write(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str = "",
        continued: bool = False,
    ) -> None:
        """Spool a line; waits while too much is unacknowledged. Raises OSError (a full disk). One
        that is too long (rubbish grows as a text) goes on in the next; `position` is behind all."""
        *parts, last = cut(text)
        for part in parts:
            await self._write_one(stream, part, at=at, mark="", continued=True)
        await self._write_one(stream, last, at=at, mark=position, continued=continued)

    async def _write_one(
        self, stream: LogStream, text: str, *, at: datetime, mark: str, continued: bool
    ) -> None:
        await self._make_room()
        number = self.last_number + 1
        mark = mark or self.resume_position()
        line = LogLine(number=number, at=at, stream=stream, text=text, continued=continued)
        segment = self._segment(number)
        try:
            segment.append(encode(line, mark), number=number, position=mark)
        except OSError:
            self._drop_if_empty(segment)
            raise
        self._arrived.set()

    async def _make_room(self) -> None:
        """Wait until there is room; a segment that is full is on the disk before the next one."""
        while self._is_full():
            self._room.clear()
            await self._room.wait()
        if self._segments and self._segments[-1].size >= self._limits.segment_bytes:
            await asyncio.to_thread(self._settle, self._segments[-1])

    def resume_position(self) -> str:
        return self._segments[-1].position if self._segments else ""

    async def restart(self, *, at: datetime) -> None:
        """The attempt runs anew: numbers go on, positions in its output begin again."""
        self.resume()
        if self._segments:
            self._segments[-1].position = ""
        await self.write(LogStream.SYSTEM, RUNS_ANEW, at=at)

    def lift_limit(self) -> None:
        """The step is being stopped: let it write what it has without waiting for anyone."""
        self._unbounded = True
        self._room.set()

    def resume(self) -> None:
        """Lines may follow (again): the attempt is followed (again)."""
        self.ended = False
        (self._folder / _ENDED).unlink(missing_ok=True)

    async def finish(self) -> int:
        """No more lines: bring everything to the disk; the number of lines.

        It has ended only then: a shipper removes what has ended. Raises OSError.
        """
        try:
            if self._segments:
                await asyncio.to_thread(self._seal, self._segments[-1])
                self._segments[-1].close()
        finally:
            self.ended = True
            self._arrived.set()
        return self.last_number

    def _seal(self, last: Segment) -> None:
        last.sync()
        sync(self._folder / _SERIES)
        (self._folder / _ENDED).touch()
        for folder in (self._folder, *list(self._folder.parents)[:_LEVELS]):
            sync(folder)

    def _settle(self, segment: Segment) -> None:
        """Bring it and its name to the disk."""
        segment.sync()
        sync(self._folder)

    @property
    def last_number(self) -> int:
        return self._segments[-1].last if self._segments else 0

    @property
    def stored_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    @property
    def is_drained(self) -> bool:
        return self.acknowledged >= self.last_number

    def _read_series(self) -> str:
        path = self._folder / _SERIES
        series = path.read_text() if path.exists() else ""
        return series or uuid.uuid4().hex  # Empty: the machine stopped while it was written.

    def _is_full(self) -> bool:
        return not self._unbounded and self.stored_bytes >= self._limits.unacknowledged_bytes

    def _segment(self, number: int) -> Segment:
        """The segment that takes the next line."""
        if self._segments and self._segments[-1].size < self._limits.segment_bytes:
            return self._segments[-1]
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._segments:
            (self._folder / _SERIES).write_text(self.series)
        segment = Segment(self._folder / f"{number:020d}.seg", first=number)
        if self._segments:
            segment.position = self._segments[-1].position
            self._segments[-1].close()
        self._segments.append(segment)
        return segment

    def _drop_if_empty(self, segment: Segment) -> None:
        """A new segment that got no line must not become the one that holds the numbering."""
        if segment.last < segment.first:
            self._segments.remove(segment)
            segment.remove()

    def _drop_broken(self) -> None:
        """Keep the consecutive beginning: what follows damage cannot be numbered any more."""
        sound: list[Segment] = []
        for segment in self._segments:
            is_next = not sound or segment.first == sound[-1].last + 1
            if is_next and segment.last >= segment.first:
                sound.append(segment)
                continue
            _log.warning("spool.segment_dropped", action="spool.segment_dropped", path=segment.path)
            segment.remove()
        self._segments = sound

    # --- reading --------------------------------------------------------------------------------

    def read(self, first: int, *, max_bytes: int) -> tuple[LogLine, ...]:
        """Lines from number `first` on (or the oldest kept one): some, at most `max_bytes`."""
        place = self._locate(first)
        if place is None:
            return ()
        number, segment, offset = place
        lines: list[LogLine] = []
        size = 0
        for item in decode(segment.read(offset, max_bytes + _READ_MARGIN), offset):
            if item.line.number < first:
                number, offset = item.line.number + 1, item.end
                continue
            size += item.end - offset
            if lines and size > max_bytes:
                break
            lines.append(item.line)
            number, offset = item.line.number + 1, item.end
        self._cursor = (number, segment, offset)
        moved = (number, segment, offset) != place
        if not lines and moved and number < first:
            return self.read(first, max_bytes=max_bytes)
        return tuple(lines)

    def _locate(self, first: int) -> tuple[int, Segment, int] | None:
        if self._cursor is not None and self._cursor[0] <= first:
            number, segment, _ = self._cursor
            if segment in self._segments and first <= segment.last and number <= first:
                return self._cursor
        for segment in self._segments:
            if first <= segment.last:
                return segment.first, segment, 0
        return None

    def acknowledge(self, number: int) -> None:
        """The gateway stored every line up to `number`; whole segments below it go. The last one
        stays while the attempt lives: it holds the numbering and the mark to resume at."""
        self.acknowledged = max(self.acknowledged, min(number, self.last_number))
        while len(self._segments) > 1 and self._segments[0].last <= self.acknowledged:
            self._segments.pop(0).remove()
        if not self._is_full():
            self._room.set()

    def take_back(self, number: int) -> None:
        """The gateway has only the lines up to `number` after all."""
        self.acknowledged = min(self.acknowledged, number)

    def remove(self) -> None:
        """Delete the files (everything is acknowledged, or nobody wants it)."""
        for segment in self._segments:
            segment.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        for parent in list(self._folder.parents)[:3]:
            with contextlib.suppress(OSError):
                parent.rmdir()
