"""Consecutive log lines as one compressed value: from the agent's spool to the store, unopened."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import zstandard
from google.protobuf.message import DecodeError

from gamepipe.limit import LINE_BYTES
from gamepipe.model.errors import InvalidRequest, LimitExceeded
from gamepipe.model.record import AttemptKey, LogLine, LogStream
from gamepipe.v1 import log_pb2

LEVEL = 3
LARGEST_CHUNK = 16 << 20
"""Bound of what one chunk may unpack to, in bytes."""
LAST_NUMBER = 1 << 60
"""Of a line; what a database can count stays above it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SURELY_SHORT = LINE_BYTES // 4
"""Characters that fit into a line, however many bytes each has in UTF-8."""
_MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""Microseconds of the times that a line may have."""
_NUMBER = {
    LogStream.STDOUT: log_pb2.LOG_STREAM_STDOUT,
    LogStream.STDERR: log_pb2.LOG_STREAM_STDERR,
    LogStream.SYSTEM: log_pb2.LOG_STREAM_SYSTEM,
}
_STREAM = {number: stream for stream, number in _NUMBER.items()}


class _Packer(threading.local):
    """For each thread its own: to make one costs more than a small chunk does."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.opener = zstandard.ZstdDecompressor(max_window_size=LARGEST_CHUNK)


_packer = _Packer()


@dataclass(frozen=True, kw_only=True, slots=True)
class LogChunk:
    """Lines of one attempt with consecutive numbers, counted from 1 in each `series`."""

    key: AttemptKey
    first: int
    count: int
    last_at: datetime
    """The latest time among the lines."""
    data: bytes
    series: str = ""
    node_id: str = ""
    """The node that sent them; empty: no node did."""

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @classmethod
    def of(cls, key: AttemptKey, lines: Sequence[LogLine], series: str = "") -> "LogChunk":
        """At least one line; their numbers follow each other."""
        return cls(
            key=key,
            first=lines[0].number,
            count=len(lines),
            last_at=max(line.at for line in lines),
            data=pack(lines),
            series=series,
        )

    def behind(self, number: int) -> "LogChunk":
        """The lines with a higher number; at least one has."""
        lines = unpack(self.first, self.data)
        rest = LogChunk.of(self.key, lines[number + 1 - self.first :], self.series)
        return replace(rest, node_id=self.node_id)


def pack(lines: Sequence[LogLine]) -> bytes:
    """Their numbers are not in it: whoever keeps it knows the first."""
    times = [(line.at - _EPOCH) // _MICROSECOND for line in lines]
    chunk = log_pb2.LogChunk(
        at_microseconds=[now - before for now, before in zip(times, [0, *times], strict=False)],
        streams=[_NUMBER[line.stream] for line in lines],
        texts=[line.text.encode("utf-8", "replace").decode() for line in lines],
        continued=[place for place, line in enumerate(lines) if line.continued],
    )
    return _packer.compressor.compress(chunk.SerializeToString())


def unpack(first: int, data: bytes) -> list[LogLine]:
    """The lines again, numbered from `first`. Raises `InvalidRequest`."""
    chunk = _open(data)
    continued = frozenset(chunk.continued)
    columns = zip(accumulate(chunk.at_microseconds), chunk.streams, chunk.texts, strict=True)
    return [
        LogLine(
            number=first + place,
            at=_EPOCH + timedelta(microseconds=at),
            stream=_STREAM.get(stream, LogStream.SYSTEM),
            text=text,
            continued=place in continued,
        )
        for place, (at, stream, text) in enumerate(columns)
    ]


def check(chunk: LogChunk) -> LogChunk:
    """The chunk, if it holds what it says. Raises `InvalidRequest`."""
    inside = _open(chunk.data)
    columns = {len(inside.at_microseconds), len(inside.streams), len(inside.texts)}
    if columns != {chunk.count} or not chunk.count or not 0 < chunk.first <= LAST_NUMBER:
        raise InvalidRequest(
            f"a packed chunk says {chunk.count} lines from {chunk.first} and holds {columns}"
        )
    times = list(accumulate(inside.at_microseconds))
    if min(times) < EARLIEST or max(times) > LATEST:
        raise InvalidRequest("a packed chunk has a time that no calendar has")
    check_lines(inside.texts)
    return chunk


def check_lines(texts: Iterable[str]) -> None:
    """Raises `LimitExceeded`."""
    for text in texts:
        if len(text) > _SURELY_SHORT:
            check_limit("line", "a log line", len(text.encode()), LINE_BYTES)


def check_limit(name: str, what: str, size: int, allowed: int) -> None:
    """Raises `LimitExceeded`, which says what is too large, and how large it may be."""
    if size > allowed:
        raise LimitExceeded(
            f"{what} has at most {allowed >> 10} KiB, this one has {size} bytes",
            limit=f"{name}_bytes",
            allowed=str(allowed),
        )


def _open(data: bytes) -> log_pb2.LogChunk:
    """Never takes more memory than the largest chunk, whatever the bytes say of themselves."""
    try:
        size = zstandard.frame_content_size(data)
        if size < 0:  # it does not say
            with _packer.opener.stream_reader(data) as reader:
                plain = reader.read(LARGEST_CHUNK + 1)
            size = len(plain)
        elif size <= LARGEST_CHUNK:  # it is as much, or an error
            plain = _packer.opener.decompress(data)
        if size > LARGEST_CHUNK:
            raise InvalidRequest(f"packed lines may unpack to {LARGEST_CHUNK >> 20} MiB")
        return log_pb2.LogChunk.FromString(plain)
    except (zstandard.ZstdError, DecodeError) as error:
        raise InvalidRequest(f"packed lines cannot be read: {error}") from error
