"""Log lines: every one once, in order, whatever is sent twice or cut differently."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from gamepipe.logchunk import pack, unpack
from gamepipe.model.errors import NotFound
from gamepipe.model.record import AttemptKey, LogLine, LogStream
from gamepipe.model.state import PipelineState
from gamepipe.ports import LogChunk, LogQuery, LogTail
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)


def lines(first: int, last: int, text: str = "line") -> tuple[LogLine, ...]:
    return tuple(
        LogLine(
            number=number,
            at=NOW + timedelta(seconds=number),
            stream=LogStream.STDERR if number % 2 else LogStream.STDOUT,
            text=f"{text} {number}",
        )
        for number in range(first, last + 1)
    )


async def texts(store: GamePipelineStore, **query: object) -> list[str]:
    found = store.logs.read(LogQuery(pipeline_id="p", **query))
    return [line.text async for _, line in found]


async def test_resent_lines_are_stored_once(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    for first, last, stored in ((1, 5, 5), (1, 5, 5), (3, 8, 8), (6, 7, 8), (10, 12, 8), (9, 9, 9)):
        answer = await store.logs.append([LogChunk.of(KEY, lines(first, last))])
        assert answer == (stored,)
    assert await texts(store) == [f"line {number}" for number in range(1, 10)]
    assert await store.logs.tails("p") == {KEY: LogTail(last=9)}


async def test_a_new_series_follows_the_lines_of_the_one_before(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)

    async def push(series: str, first: int, last: int) -> int:
        chunk = LogChunk.of(KEY, lines(first, last, series), series)
        return (await store.logs.append([chunk]))[0]

    assert [await push("old", 1, 3), await push("new", 2, 3), await push("new", 1, 2)] == [3, 0, 2]
    assert await push("old", 2, 3) == 3, "a late resend is acknowledged"
    assert await push("new", 2, 4) == 4
    expected = [*(f"old {n}" for n in (1, 2, 3)), *(f"new {n}" for n in (1, 2, 3, 4))]
    assert await texts(store) == expected
    assert await texts(store, step_index=0, after=3) == expected[3:]
    assert await store.logs.tails("p") == {KEY: LogTail(last=7, base=3)}


async def test_lines_of_many_attempts_cost_no_more_statements_than_those_of_two(
    store: GamePipelineStore,
) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    statements: list[str] = []

    def note(*call: object) -> None:
        statements.append(str(call[2]))

    async def push(attempts: int, first: int) -> int:
        keys = [replace(KEY, step_index=number) for number in range(attempts)]
        statements.clear()
        answer = await store.logs.append([LogChunk.of(key, lines(first, first)) for key in keys])
        assert answer == (first,) * attempts
        return len(statements)

    event.listen(store._database._writer, "before_cursor_execute", note)
    assert await push(2, 1) == await push(40, 1) > await push(2, 2) == await push(40, 2)


async def test_reading_filters_and_cuts(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    second = AttemptKey(pipeline_id="p", generation=1, step_index=1, attempt=1)
    chunks = [LogChunk.of(KEY, lines(n, n + 9)) for n in range(1, 1000, 10)]
    await store.logs.append([*chunks, LogChunk.of(second, lines(1, 3, "other"))])
    everything = await texts(store)
    assert everything == [f"line {n}" for n in range(1, 1001)] + [f"other {n}" for n in (1, 2, 3)]
    assert await texts(store, tail=4) == ["line 1000", "other 1", "other 2", "other 3"]
    assert await texts(store, step_index=0, tail=2) == ["line 999", "line 1000"]
    assert await texts(store, step_index=0, after=998) == ["line 999", "line 1000"]
    assert await texts(store, search="other") == ["other 1", "other 2", "other 3"]
    assert await texts(store, since=NOW + timedelta(seconds=999)) == ["line 999", "line 1000"]


async def test_others_go_on_while_lines_are_searched(
    store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search may look through millions of lines and find none: streams must not wait for it."""
    await store.pipelines.add(new("p"), now=NOW)
    await store.logs.append([LogChunk.of(KEY, lines(1, 3))])
    loop, gone_on = asyncio.get_running_loop(), threading.Event()

    def looks(text: str) -> bool:
        loop.call_soon_threadsafe(gone_on.set)
        return gone_on.wait(5) and text == "line 3"

    monkeypatch.setattr("store.log.matcher", lambda _: looks)
    assert await texts(store, search="line 3") == ["line 3"]


async def test_lines_of_an_unknown_pipeline_are_acknowledged_and_dropped(
    store: GamePipelineStore,
) -> None:
    assert await store.logs.append([LogChunk.of(KEY, lines(1, 3))]) == (3,)
    assert await texts(store) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.tuples(st.text(), st.booleans(), st.sampled_from(LogStream)), max_size=20))
def test_any_text_survives_packing(rows: list[tuple[str, bool, LogStream]]) -> None:
    packed = tuple(
        LogLine(number=n, at=NOW, stream=stream, text=text, continued=continued)
        for n, (text, continued, stream) in enumerate(rows, start=7)
        if text.encode("utf-8", "replace").decode() == text
    )
    renumbered = unpack(7, pack(packed))
    assert [(one.text, one.continued, one.stream) for one in renumbered] == [
        (one.text, one.continued, one.stream) for one in packed
    ]


async def test_who_follows_a_log_sees_its_state_and_its_tails_at_once(
    store: GamePipelineStore,
) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    later = replace(KEY, attempt=KEY.attempt + 1)
    await store.logs.append([LogChunk.of(key, lines(1, 3)) for key in (later, KEY)])
    standing = await store.logs.standing("p")
    assert standing.state is PipelineState.NOT_STARTED
    assert list(standing.tails.items()) == [(KEY, LogTail(last=3)), (later, LogTail(last=3))]
    with pytest.raises(NotFound):
        await store.logs.standing("absent")
