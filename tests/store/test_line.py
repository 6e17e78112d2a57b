"""The queue is read as lines of the same need."""

import asyncio
import os
import subprocess
import sys
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine

from gamepipe.scheduling.need import Need
from store.database import parse_url
from store.queue import line_of
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.queueing import names, ordered, place, wait_all
from tests.store.shapes import registration


async def test_entries_of_an_earlier_schema_are_served_in_their_place(store_url: str) -> None:
    async with ordered(store_url) as store:
        await wait_all(store, "old", "young", tenant="default")

        def forget() -> None:
            with create_engine(parse_url(store_url)).begin() as connection:
                connection.execute(text("UPDATE queue_entry SET line = '', need = NULL"))

        await asyncio.to_thread(forget)
        await store.nodes.register(registration("n1", cpu=1), now=NOW)
        assert names(await store.placements.offer(now=NOW)) == ["old"]


async def test_a_pass_costs_by_needs_that_differ_not_by_how_many_wait(store_url: str) -> None:
    """Statements of a pass in which nothing fits."""
    async with ordered(store_url) as store:
        await store.nodes.register(registration("n1", cpu=1), now=NOW)
        await place(store, "running")
        counts = []
        for batch in range(2):
            size = 2 if batch == 0 else 40
            waiting = (f"default-{batch}.{number}" for number in range(size))
            await wait_all(store, *waiting)
            counts.append(await _statements(store))
        assert counts[0] == counts[1]


async def _statements(store: GamePipelineStore) -> int:
    seen = []

    def note(*given: Any) -> None:
        seen.append(given[2])

    await store.placements.offer(now=NOW, telling=True)  # told once
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert await store.placements.offer(now=NOW, telling=True) == ()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(seen)


def test_a_line_has_the_same_name_in_every_process() -> None:
    """Sets have another order in each."""
    code = (
        "from gamepipe.scheduling.need import Need; from store.queue import line_of;"
        "print(line_of(Need(features=frozenset(('command', 'container')))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in "12"
    }
    assert said == {line_of(Need(features=frozenset(("command", "container"))))}
