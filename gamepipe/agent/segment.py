"""Frames of the log spool: length, CRC-32, payload; a torn tail is found and cut off.

::

    frame    length u32 | crc32 u32 | payload
    payload  number u64 | microseconds i64 | stream u8 | continued u8 | position length u16
             | position | text
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gamepipe.agent.folder import sync
from gamepipe.model.record import LogLine, LogStream

_FRAME = struct.Struct(">II")
_HEAD = struct.Struct(">QqBBH")
_STREAMS = tuple(LogStream)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_PAYLOAD = 4 * 1024 * 1024
"""No line is near this; a length above it is rubbish."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpooledLine:
    """A line with the runtime's mark behind it, and where its frame ends in the segment."""

    line: LogLine
    position: str
    end: int


def encode(line: LogLine, position: str) -> bytes:
    """One frame."""
    mark = position.encode()
    payload = (
        _HEAD.pack(
            line.number,
            (line.at - _EPOCH) // _MICROSECOND,
            _STREAMS.index(line.stream),
            line.continued,
            len(mark),
        )
        + mark
        + line.text.encode("utf-8", errors="replace")
    )
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def decode(data: bytes, offset: int = 0) -> Iterator[SpooledLine]:
    """Whole, sound frames of `data`; stops before the first that is not. `offset` is where
    `data` begins in its segment."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        payload = data[at + _FRAME.size : end]
        if length > _MAX_PAYLOAD or len(payload) < length or zlib.crc32(payload) != crc:
            return
        at = end
        yield _line(payload, offset + end)


def _line(payload: bytes, end: int) -> SpooledLine:
    number, micros, stream, continued, mark = _HEAD.unpack_from(payload)
    text_at = _HEAD.size + mark
    line = LogLine(
        number=number,
        at=_EPOCH + timedelta(microseconds=micros),
        stream=_STREAMS[stream],
        text=payload[text_at:].decode("utf-8", errors="replace"),
        continued=bool(continued),
    )
    return SpooledLine(line=line, position=payload[_HEAD.size : text_at].decode(), end=end)


class Segment:
    """One append-only file of consecutive lines, named by its first line's number."""

    def __init__(self, path: Path, *, first: int) -> None:
        self.path = path
        self.first = first
        self.last = first - 1
        self.size = 0
        self.position = ""
        self._descriptor = -1

    @classmethod
    def recover(cls, path: Path) -> "Segment":
        """Open what an earlier agent left; cuts off a torn tail."""
        segment = cls(path, first=int(path.stem))
        data = path.read_bytes()
        for item in decode(data):
            segment.last, segment.position, segment.size = item.line.number, item.position, item.end
        if segment.size < len(data):
            os.truncate(path, segment.size)
        return segment

    def append(self, frame: bytes, *, number: int, position: str) -> None:
        """Raises OSError (a full disk) and then leaves the segment as it was."""
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        try:
            written = os.write(self._descriptor, frame)
            while written < len(frame):
                written += os.write(self._descriptor, frame[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self.size)
            error.filename = str(self.path)
            raise
        self.size += len(frame)
        self.last, self.position = number, position

    def read(self, offset: int, limit: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(min(limit, self.size - offset))

    def sync(self) -> None:
        """Bring it to the disk, what an earlier agent wrote included."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
        elif self.size:
            sync(self.path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
