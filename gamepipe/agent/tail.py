"""Reads a command step's output back from its segments, from a mark on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gamepipe.agent.frame import (
    MAX_FRAME_BYTES,
    MAX_LINE_BYTES,
    STDERR,
    Frame,
    read_frames,
    segment_name,
)
from gamepipe.model.record import LogStream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place behind a line: launch number, offset of a frame, lines and pieces done of it."""

    launch: int
    offset: int = 0
    line: int = 0
    piece: int = 0

    @classmethod
    def parse(cls, text: str) -> "Mark | None":
        return cls(*map(int, text.split(":"))) if text else None

    def __str__(self) -> str:
        return f"{self.launch}:{self.offset}:{self.line}:{self.piece}"


@dataclass(frozen=True, slots=True)
class TailLine:
    """One line, or a piece of one; `mark` is the place behind it."""

    stream: LogStream
    text: str
    at: datetime
    continued: bool
    mark: Mark


class OutputTail:
    """Follows the segments of one launch; drops those that are done with."""

    def __init__(self, folder: Path, start: Mark) -> None:
        self._folder = folder
        self._mark = start
        self._segments = sorted(int(path.stem[4:]) for path in folder.glob("out-*.seg"))
        self.dropped_to = 0
        """Every byte below it is done with."""

    @property
    def offset(self) -> int:
        """Of the next frame."""
        return self._mark.offset

    def read(self) -> Iterator[TailLine]:
        """Some of the lines that are there; none when there is nothing new."""
        base = self._mark.offset
        for frame in read_frames(self._read_bytes(base)):
            yield from self._lines(frame)
            self._mark = Mark(self._mark.launch, base + frame.end)

    def drop(self, offset: int) -> None:
        """Remove segments that end at or below `offset`; those of a dead agent's reading too."""
        self._find(offset)
        while len(self._segments) > 1 and self._segments[1] <= offset:
            (self._folder / segment_name(self._segments.pop(0))).unlink(missing_ok=True)
        self.dropped_to = offset

    def _lines(self, frame: Frame) -> Iterator[TailLine]:
        done_lines, done_pieces = self._mark.line, self._mark.piece
        offset, launch = self._mark.offset, self._mark.launch
        stream = LogStream.STDERR if frame.stream == STDERR else LogStream.STDOUT
        at = from_micros(frame.at_us)
        for number, raw in enumerate(frame.lines[done_lines:], start=done_lines):
            pieces = _pieces(raw)
            skip = done_pieces if number == done_lines else 0
            for index, text in enumerate(pieces[skip:], start=skip):
                more = index + 1 < len(pieces)
                mark = (
                    Mark(launch, offset, number, index + 1)
                    if more
                    else Mark(launch, offset, number + 1)
                )
                yield TailLine(stream, text, at, more or frame.continued, mark)

    def _read_bytes(self, offset: int) -> bytes:
        segment = self._find(offset)
        if segment is None:
            return b""
        try:
            descriptor = os.open(self._folder / segment_name(segment), os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, MAX_FRAME_BYTES, offset - segment)
        finally:
            os.close(descriptor)

    def _find(self, offset: int) -> int | None:
        """The segment that holds `offset`; a new one begins exactly where the last one ends."""
        known = self._segments[-1] if self._segments else -1
        if offset > known and (self._folder / segment_name(offset)).exists():
            self._segments.append(offset)
        return next((start for start in reversed(self._segments) if start <= offset), None)


def _pieces(raw: bytes) -> list[str]:
    """The text; invalid bytes grow when they are replaced, so it may have to be cut again: into
    pieces of about one size, for a short one in the middle would hide a secret from the mask."""
    text = raw.decode("utf-8", errors="replace")
    encoded = text.encode()
    size = -(-len(encoded) // max(1, -(-len(encoded) // MAX_LINE_BYTES)))
    pieces = []
    at = 0
    while at < len(encoded):
        end = min(at + size, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(encoded[at:end].decode())
        at = end
    return pieces or [""]
