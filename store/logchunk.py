"""Log lines as compressed bytes: a JSON array per line, zstandard over all of them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import zstandard

from gamepipe.model.record import LogLine, LogStream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LEVEL = 3
LARGEST_CHUNK = 64 << 20
"""Bound of what one chunk may unpack to, in bytes."""


def pack(lines: Sequence[LogLine]) -> bytes:
    """Consecutive lines; their numbers are not stored, the chunk knows its first."""
    rows = [
        [(line.at - _EPOCH) // _MICROSECOND, line.stream.value, line.text, int(line.continued)]
        for line in lines
    ]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    return zstandard.ZstdCompressor(level=LEVEL).compress(text.encode("utf-8", "replace"))


def unpack(first: int, data: bytes) -> list[LogLine]:
    """The lines again, numbered from `first`."""
    plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST_CHUNK)
    return [
        LogLine(
            number=first + offset,
            at=_EPOCH + at * _MICROSECOND,
            stream=LogStream(stream),
            text=text,
            continued=bool(continued),
        )
        for offset, (at, stream, text, continued) in enumerate(json.loads(plain))
    ]
