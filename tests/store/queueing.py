"""Stores with a queue, and pipelines that wait in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from gamepipe.ports import Notice
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.wire import PlaceAnswer, PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request


@asynccontextmanager
async def ordered(url: str, **order: Any) -> AsyncIterator[GamePipelineStore]:
    store = await GamePipelineStore.open(url, order=OrderPolicy(**order))
    yield store
    await store.close()


async def place(store: GamePipelineStore, name: str, *, at: float = 0, **shape: Any) -> PlaceAnswer:
    now = NOW + timedelta(seconds=at)
    await store.pipelines.add(new(name, **shape), now=now)
    return await store.placements.place(place_request(name), now=now)


async def wait_all(store: GamePipelineStore, *names: str, **shape: Any) -> None:
    """In this order, each of the tenant that its name begins with."""
    for number, name in enumerate(names):
        tenant = name.partition("-")[0]
        answer = await place(store, name, at=1 + number / 1000, **{"tenant": tenant} | shape)
        assert answer.status is PlaceStatus.QUEUED


def names(offers: tuple[Notice, ...]) -> list[str]:
    return [offer.pipeline_id for offer in offers]
