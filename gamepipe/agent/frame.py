"""Output frames of a command step: the shim appends them, the agent reads them back.

A frame is `flags u8 | microseconds u64 | length u32 | lines joined by newlines` (big-endian).
Imported by the shim, so only by what starts fast.
"""

import errno
import os
import time
from collections.abc import Iterator

STDOUT, STDERR, CONTINUED = 1, 2, 4
HEAD_BYTES = 13
MAX_LINE_BYTES = 64 * 1024
SEGMENT_BYTES = 1024 * 1024
MAX_FRAME_BYTES = 256 * 1024
"""More than the longest frame: a read and a rest are 64 KiB each."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Frame:
    """Lines of one stream that arrived together; `end` counts from the start of the data."""

    __slots__ = ("at_us", "continued", "end", "lines", "stream")

    def __init__(self, flags: int, at_us: int, payload: bytes, end: int) -> None:
        self.stream = flags & ~CONTINUED
        self.continued = bool(flags & CONTINUED)
        self.at_us = at_us
        self.lines = payload.split(b"\n")
        self.end = end


def read_frames(data: bytes) -> Iterator[Frame]:
    """The whole frames at the start of `data`; a torn one at its end is left."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        end = at + HEAD_BYTES + int.from_bytes(data[at + 9 : at + HEAD_BYTES], "big")
        if end > len(data):
            return
        time_us = int.from_bytes(data[at + 1 : at + 9], "big")
        yield Frame(data[at], time_us, data[at + HEAD_BYTES : end], end)
        at = end


def segment_name(offset: int) -> str:
    return f"out-{offset:016d}.seg"


def now_us() -> int:
    return time.time_ns() // 1000


class OutputWriter:
    """Cuts output into lines and appends them as frames; drops all of it on a full disk."""

    def __init__(self) -> None:
        self.offset = 0
        self.disk_full = False
        self._rest = {STDOUT: b"", STDERR: b""}
        self._descriptor = -1
        self._size = 0

    def feed(self, stream: int, data: bytes) -> None:
        data = self._rest[stream] + data
        head, newline, rest = data.rpartition(b"\n")
        if newline:
            self._write_lines(stream, head)
        while len(rest) > MAX_LINE_BYTES:
            rest = self._write_piece(stream, rest)
        self._rest[stream] = rest

    def end(self, stream: int) -> None:
        if self._rest[stream]:
            self._append(stream, self._rest[stream])
            self._rest[stream] = b""

    def _write_lines(self, stream: int, head: bytes) -> None:
        if len(head) <= MAX_LINE_BYTES:
            self._append(stream, head)
            return
        for line in head.split(b"\n"):
            left = line
            while len(left) > MAX_LINE_BYTES:
                left = self._write_piece(stream, left)
            self._append(stream, left)

    def _write_piece(self, stream: int, line: bytes) -> bytes:
        """Write the first piece of a long line, not cut inside a character; what is left."""
        cut = MAX_LINE_BYTES
        while cut > MAX_LINE_BYTES - 4 and line[cut] & 0xC0 == 0x80:
            cut -= 1
        self._append(stream | CONTINUED, line[:cut])
        return line[cut:]

    def _append(self, flags: int, payload: bytes) -> None:
        if self.disk_full:
            return
        head = bytes([flags]) + now_us().to_bytes(8, "big") + len(payload).to_bytes(4, "big")
        try:
            self._write(head + payload)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            self.disk_full = True
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, self._size)

    def _write(self, frame: bytes) -> None:
        if self._descriptor < 0 or self._size >= SEGMENT_BYTES:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._descriptor = os.open(segment_name(self.offset), flags, 0o600)
            self._size = 0
        written = 0
        while written < len(frame):
            written += os.write(self._descriptor, frame[written:])
        self._size += len(frame)
        self.offset += len(frame)
