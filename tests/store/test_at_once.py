"""Pipelines that ask at the same time share a transaction: who of them goes first."""

import asyncio

from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.queueing import ordered
from tests.store.shapes import new, place_request, registration


async def place_at_once(
    store: GamePipelineStore, **shapes: dict[str, object]
) -> dict[str, PlaceStatus]:
    """All in one transaction, in this order."""
    for name, shape in shapes.items():
        await store.pipelines.add(new(name, **shape), now=NOW)
    asked = (store.placements.place(place_request(name), now=NOW) for name in shapes)
    answers = await asyncio.gather(*asked)
    return {name: answer.status for name, answer in zip(shapes, answers, strict=True)}


async def test_of_those_who_ask_at_the_same_time_a_higher_class_goes_first(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    found = await place_at_once(store, low={"priority": 1}, high={"priority": 2})
    assert found == {"low": PlaceStatus.QUEUED, "high": PlaceStatus.PLACED}


async def test_one_of_a_small_tenant_is_not_behind_a_flood_that_asks_at_the_same_time(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=3), now=NOW)
    flood = {f"f{number}": {"tenant": "flood", "name": f"t{number % 2}"} for number in range(4)}
    found = await place_at_once(store, **flood, one={"tenant": "small"})
    placed = {name for name, status in found.items() if status is PlaceStatus.PLACED}
    assert placed == {"one", "f0", "f2"}


async def test_of_those_who_ask_at_the_same_time_who_holds_less_for_its_weight_goes_first(
    store_url: str,
) -> None:
    async with ordered(store_url, tenant_weights={"large": 8.0}) as store:
        await store.nodes.register(registration("n1", cpu=10), now=NOW)
        for name, tenant, cpu in (("h1", "large", 3.0), ("h2", "small", 1.0)):
            await place_at_once(store, **{name: {"tenant": tenant, "cpu": cpu}})
        ask = {"cpu": 3.0}
        found = await place_at_once(
            store,
            s1={"tenant": "small"} | ask,
            l1={"tenant": "large"} | ask,
            l2={"tenant": "large"} | ask,
        )
        placed = {name for name, status in found.items() if status is PlaceStatus.PLACED}
        assert placed == {"l1", "l2"}, "6/8 is less than 1/1"


async def test_a_flood_of_one_who_holds_nothing_leaves_room_for_one_who_holds_a_little(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=100), now=NOW)
    await place_at_once(store, held={"tenant": "small", "cpu": 1.0})
    flood = {f"f{number}": {"tenant": "flood", "cpu": 9.0} for number in range(20)}
    found = await place_at_once(store, **flood, one={"tenant": "small", "cpu": 9.0})
    placed = [name for name, status in found.items() if status is PlaceStatus.PLACED]
    assert len(placed) == 11
    assert "one" in placed
