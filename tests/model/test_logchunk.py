"""Lines survive packing, and a chunk that lies about itself is refused."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gamepipe.logchunk import LARGEST_CHUNK, LogChunk, check, pack, unpack
from gamepipe.model.errors import InvalidRequest
from gamepipe.model.record import AttemptKey, LogLine, LogStream
from gamepipe.v1 import log_pb2

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def line(number: int, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> LogLine:
    return LogLine(number=number, at=at, stream=LogStream.STDOUT, text=f"line {number}")


@given(
    first=st.integers(1, 2**40),
    facts=st.lists(
        st.tuples(MOMENTS, st.sampled_from(LogStream), TEXTS, st.booleans()), min_size=1
    ),
)
def test_lines_are_the_same_behind_the_way(
    first: int, facts: list[tuple[datetime, LogStream, str, bool]]
) -> None:
    """Whatever their times: a clock may be set back between two lines."""
    lines = [
        LogLine(number=first + place, at=at, stream=stream, text=text, continued=continued)
        for place, (at, stream, text, continued) in enumerate(facts)
    ]
    assert unpack(first, pack(lines)) == lines
    chunk = check(LogChunk.of(KEY, lines))
    assert (chunk.first, chunk.last) == (first, lines[-1].number)
    assert chunk.last_at == max(line.at for line in lines)


def test_a_chunk_is_cut_behind_a_number() -> None:
    chunk = LogChunk.of(KEY, [line(n) for n in range(5, 10)], "s")
    rest = chunk.behind(7)
    assert (rest.first, rest.last, rest.series) == (8, 9, "s")
    assert [one.text for one in unpack(rest.first, rest.data)] == ["line 8", "line 9"]


def bomb(*, says: bool) -> bytes:
    """A few bytes that unpack to very many, and say so or not."""
    packer = zstandard.ZstdCompressor(level=19, write_content_size=says)
    return packer.compress(bytes(4 * LARGEST_CHUNK))


def liar() -> bytes:
    """Says one byte less than it unpacks to."""
    data = bytearray(zstandard.ZstdCompressor(write_checksum=False).compress(b"0123456789" * 3))
    assert zstandard.frame_content_size(bytes(data)) == data[5] == 30
    data[5] -= 1
    return bytes(data)


def test_a_chunk_that_does_not_say_its_size_is_read() -> None:
    opened = zstandard.decompress(CHUNK.data)
    data = zstandard.ZstdCompressor(write_content_size=False).compress(opened)
    assert unpack(1, check(replace(CHUNK, data=data)).data) == [line(1), line(2)]


def times(*microseconds: int) -> bytes:
    chunk = log_pb2.LogChunk(at_microseconds=microseconds, streams=[1, 1], texts=["a", "b"])
    return zstandard.compress(chunk.SerializeToString())


CHUNK = LogChunk.of(KEY, [line(1), line(2)])


@pytest.mark.parametrize(
    "wrong",
    [
        replace(CHUNK, count=3),
        replace(CHUNK, count=0),
        replace(CHUNK, first=0),
        replace(CHUNK, data=b"rubbish"),
        replace(CHUNK, data=pack([])),
        replace(CHUNK, first=1 << 62),
        replace(CHUNK, data=times(1 << 62, 0)),
        replace(CHUNK, data=bomb(says=True)),
        replace(CHUNK, data=bomb(says=False)),
        replace(CHUNK, data=liar()),
    ],
    ids=[
        *("more", "none", "from zero", "rubbish", "empty", "too far", "no such time"),
        *("bomb", "silent bomb", "liar"),
    ],
)
def test_a_chunk_that_is_not_what_it_says_is_refused(wrong: LogChunk) -> None:
    with pytest.raises(InvalidRequest):
        check(wrong)
