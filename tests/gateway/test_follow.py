"""Following logs while lines arrive: every line once, on both stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from gamepipe.model.record import AttemptKey, LogLine, LogStream
from gamepipe.ports import LogChunk, LogQuery, LogStanding
from gateway.logs import Line, LogReader
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new

KEYS = [
    AttemptKey(pipeline_id="p", generation=1, step_index=index, attempt=1) for index in range(2)
]


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[GamePipelineStore]:
    store = await GamePipelineStore.open(store_url)
    await store.pipelines.add(new("p"), now=NOW)
    yield store
    await store.close()


def chunk(key: AttemptKey, number: int) -> LogChunk:
    text = f"line {number}"
    line = LogLine(number=number, at=NOW, stream=LogStream.STDOUT, text=text)
    return LogChunk.of(key, [line])


async def take(source: AsyncIterator[Line], until: dict[AttemptKey, int]) -> dict[AttemptKey, Any]:
    """Numbers by attempt, up to the last one wanted of each."""
    found: dict[AttemptKey, list[int]] = {key: [] for key in until}
    async with asyncio.timeout(30), aclosing(source):  # type: ignore[type-var]
        async for key, line in source:
            found[key].append(line.number)
            if all(found[key][-1:] == [last] for key, last in until.items()):
                return found
    return found


async def test_a_line_that_comes_between_two_looks_is_given_once(
    store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is behind the tail that was looked at, and among the lines that are read next."""
    key, standing, last = KEYS[0], store.logs.standing, 1
    await store.logs.append([chunk(key, 1)])

    async def standing_then_more(pipeline_id: str) -> LogStanding:
        nonlocal last
        answer = await standing(pipeline_id)
        if last < 20:
            last += 1
            await store.logs.append([chunk(key, last)])
        return answer

    monkeypatch.setattr(store.logs, "standing", standing_then_more)
    found = await take(LogReader(store).follow(LogQuery(pipeline_id="p")), {key: 20})
    assert found[key] == list(range(1, 21))


async def test_every_line_of_two_busy_steps_is_given_once_and_in_order(
    store: GamePipelineStore,
) -> None:
    lines = 200

    async def write() -> None:
        for number in range(1, lines + 1):
            for key in KEYS:
                await store.logs.append([chunk(key, number)])

    writer = asyncio.create_task(write())
    followers = [
        take(LogReader(store).follow(LogQuery(pipeline_id="p")), dict.fromkeys(KEYS, lines))
        for _ in range(3)
    ]
    for found in await asyncio.gather(*followers):
        assert found == {key: list(range(1, lines + 1)) for key in KEYS}
    await writer


async def test_a_search_is_followed_past_lines_that_do_not_match(
    store: GamePipelineStore,
) -> None:
    key = KEYS[0]
    await store.logs.append([chunk(key, number) for number in range(1, 4)])
    query = LogQuery(pipeline_id="p", search="9")
    follower = asyncio.create_task(take(LogReader(store).follow(query), {key: 29}))
    for number in range(4, 30):
        await store.logs.append([chunk(key, number)])
    assert (await follower)[key] == [9, 19, 29]
