"""Positions in a log: reading on from any of them gives exactly what was not written on yet."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.agent.container_log import parse_nanoseconds, whole_characters
from gamepipe.agent.container_position import MARGIN_NS, LogPosition

_STEP = MARGIN_NS // 3
Entry = tuple[int, int, int]
"""(stream, time, number of the entry)."""


def make_log(steps: list[tuple[int, int, int]]) -> list[Entry]:
    """Entries whose times jitter, as those of two streams do, less than the margin."""
    entries, now = [], 10**18
    for number, (stream, pause, jitter) in enumerate(steps):
        now += pause
        entries.append((stream, now - jitter, number))
    return entries


def read_from(log: list[Entry], position: LogPosition, batch: int) -> list[int]:
    """What follows the position as the engine gives it out; `batch` entries are written at once."""
    skips, since = position.skips, position.since
    seen: list[int] = []
    pending: list[list[Entry]] = [[], []]
    for entry in log:
        stream, time, _ = entry
        if time < since:
            continue
        if skips[stream]:
            skips[stream] -= 1
            position.see(time)
            continue
        pending[stream].append(entry)
        if len(pending[stream]) >= batch:
            written, pending[stream] = pending[stream], []
            seen += [one[2] for one in written]
            waiting = min((one[1] for line in pending for one in line), default=None)
            position.advance(stream, [one[1] for one in written], oldest_pending=waiting)
    return seen


steps = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, _STEP), st.integers(0, _STEP)), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(1, 3), st.lists(st.integers(0, 60), max_size=4))
def test_reading_on_loses_and_doubles_nothing(
    given_steps: list[tuple[int, int, int]], batch: int, deaths: list[int]
) -> None:
    log = make_log(given_steps)
    position, seen = LogPosition(), []
    for death in (*sorted(deaths), len(log)):
        seen += read_from(log[:death], position, batch)
        position = LogPosition.decode(position.encode())
    rests = [sum(1 for entry in log if entry[0] == stream) % batch for stream in (0, 1)]
    missing = [
        entry[2]
        for stream in (0, 1)
        for entry in [one for one in log if one[0] == stream][-rests[stream] or len(log) :]
    ]
    assert sorted(seen + missing) == list(range(len(log)))


def test_a_long_log_is_not_read_from_its_beginning_again() -> None:
    position = LogPosition()
    log = make_log([(number % 2, MARGIN_NS // 2, 0) for number in range(100)])
    read_from(log, position, 1)
    assert position.since > log[80][1]


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    position = LogPosition()
    before = make_log([(0, MARGIN_NS, 0) for _ in range(10)])
    assert len(read_from(before, position, 1)) == 10
    late = [(0, 10**18 - 50 + number, number) for number in range(10, 15)]
    for _, time, _ in late:
        position.advance(0, [time], oldest_pending=None)
    assert position.since == 0
    more = [(0, 10**18, 15), (0, 10**18 + 1, 16)]
    again = LogPosition.decode(position.encode())
    assert read_from([*before, *late, *more], again, 1) == [15, 16]


def test_times_of_the_engine_are_read_to_the_nanosecond() -> None:
    assert parse_nanoseconds("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert parse_nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000


def test_characters_are_kept_whole() -> None:
    generator = random.Random(4)
    text = "".join(generator.choice("aé€😀") for _ in range(200)).encode()
    for end in range(1, len(text)):
        cut = whole_characters(text[:end])
        text[:cut].decode()
        assert end - cut < 4
    assert whole_characters(b"abc\xff") == 4
    assert whole_characters(b"\x80\x80\x80\x80\x80") == 5
