"""A process of its own that works on a store: `python -m tests.store.competitor URL ROLE ...`."""

import asyncio
import sys

from gamepipe.model.state import PipelineState
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import place_request, save_request


async def place_one(store: GamePipelineStore, pipeline_id: str) -> None:
    answer = await store.placements.place(place_request(pipeline_id), now=NOW)
    if answer.placement is not None:
        print(pipeline_id, flush=True)


async def write_events(store: GamePipelineStore, pipeline_id: str, count: int) -> None:
    for number in range(1, count + 1):
        await store.pipelines.save(
            save_request(pipeline_id, number, PipelineState.PENDING), now=NOW
        )


async def main(url: str, role: str, *arguments: str) -> None:
    store = await GamePipelineStore.open(url)
    match role:
        case "place":
            await asyncio.gather(*(place_one(store, one) for one in arguments))
        case "place-slowly":
            for one in arguments:
                await place_one(store, one)
        case "write":
            await write_events(store, arguments[0], int(arguments[1]))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
