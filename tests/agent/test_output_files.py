"""What the shim writes, the agent reads back: whole, in order, from any mark on."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.agent.frame import MAX_LINE_BYTES, STDERR, STDOUT, OutputWriter
from gamepipe.agent.mask import Masker, MaskingSink
from gamepipe.agent.tail import Mark, OutputTail, TailLine
from gamepipe.model.record import LogStream
from tests.agent.making import Lines, utc_now

CHUNKS = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\n", b"x" * 70_000, "ä".encode() * 40_000, b"\xff" * 40_000]),
        ),
    ),
    max_size=12,
)


@contextmanager
def inside(folder: str) -> Iterator[Path]:
    """The shim works in its folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield Path(folder)
    finally:
        os.chdir(before)


def write(chunks: list[tuple[int, bytes]]) -> None:
    writer = OutputWriter()
    for stream, data in chunks:
        if data:
            writer.feed(stream, data)
    for stream in (STDOUT, STDERR):
        writer.end(stream)


def read_all(folder: Path, start: Mark) -> list[TailLine]:
    tail, found = OutputTail(folder, start), []
    while lines := list(tail.read()):
        found += lines
    return found


def expected(chunks: list[tuple[int, bytes]], stream: int) -> list[str]:
    whole = b"".join(data for kind, data in chunks if kind == stream)
    lines = whole.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.decode("utf-8", errors="replace") for line in lines]


def joined(lines: list[TailLine], stream: LogStream) -> list[str]:
    """Lines with the pieces of long ones put together."""
    texts, rest = [], ""
    for line in lines:
        if line.stream is stream:
            rest += line.text
            if not line.continued:
                texts.append(rest)
                rest = ""
    return texts


@settings(max_examples=60, deadline=None)
@given(CHUNKS)
def test_lines_come_back_and_every_mark_resumes_behind_its_line(chunks):
    with tempfile.TemporaryDirectory() as folder, inside(folder) as path:
        write(chunks)
        lines = read_all(path, Mark(1))
        assert all(len(line.text.encode()) <= MAX_LINE_BYTES for line in lines)
        assert joined(lines, LogStream.STDOUT) == expected(chunks, STDOUT)
        assert joined(lines, LogStream.STDERR) == expected(chunks, STDERR)
        for place, line in enumerate(lines):
            mark = Mark.parse(str(line.mark))
            assert mark is not None
            rest = read_all(path, mark)
            assert [one.text for one in rest] == [one.text for one in lines[place + 1 :]]


def test_a_torn_frame_waits_for_its_rest(tmp_path: Path):
    with inside(str(tmp_path)):
        write([(STDOUT, b"one\n"), (STDOUT, b"two\n")])
        segment = next(tmp_path.glob("out-*.seg"))
        whole = segment.read_bytes()
        segment.write_bytes(whole[:-2])
        tail = OutputTail(tmp_path, Mark(1))
        assert [line.text for line in tail.read()] == ["one"]
        assert list(tail.read()) == []
        segment.write_bytes(whole)
        assert [line.text for line in tail.read()] == ["two"]


def test_segments_that_are_done_with_go(tmp_path: Path):
    with inside(str(tmp_path)):
        write([(STDOUT, b"x" * 60_000 + b"\n")] * 60)
        assert len(list(tmp_path.glob("out-*.seg"))) == 4
        tail = OutputTail(tmp_path, Mark(1))
        seen = 0
        while lines := list(tail.read()):
            seen += len(lines)
            tail.drop(lines[-1].mark.offset)
        assert seen == 60
        assert len(list(tmp_path.glob("out-*.seg"))) == 1
        last = OutputTail(tmp_path, Mark(1, tail.offset))
        assert list(last.read()) == []


SECRET = "sesam-öffne"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(min_value=len(SECRET), max_value=30), max_size=6))
async def test_a_secret_is_masked_across_the_cuts_of_a_line(sizes):
    text = f"before {SECRET} between {SECRET}{SECRET} after"
    sink = Lines()
    masking = MaskingSink(sink, Masker([SECRET]))
    at = 0
    for size in sizes:
        if at + size < len(text):
            await masking.write(
                LogStream.STDOUT, text[at : at + size], at=utc_now(), continued=True
            )
            at += size
    await masking.write(LogStream.STDOUT, text[at:], at=utc_now())
    await masking.flush()
    whole = "".join(sink.texts())
    assert SECRET not in whole
    assert whole.startswith("before *")
    assert whole.endswith("* after")
