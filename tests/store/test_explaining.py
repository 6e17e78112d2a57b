"""How a node was chosen is kept with its allocation; what would be is asked without a trace."""

import asyncio
import threading

from gamepipe.model.node import NodeMetrics
from gamepipe.model.spec import PlacementRequest
from gamepipe.model.state import NodeState, PipelineState
from gamepipe.ports import NodeChange
from gamepipe.scheduling.policy import Capacity, Policy, Weights
from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration, save_request, spec


async def nodes(store: GamePipelineStore, **loads: float) -> None:
    for node_id, load in loads.items():
        node = await store.nodes.register(registration(node_id), now=NOW)
        metrics = NodeMetrics(cpu_share=load)
        await store.nodes.heartbeat([(node_id, node.session, metrics)], now=NOW)


async def place(store: GamePipelineStore, pipeline_id: str, **shape: object) -> PlaceStatus:
    await store.pipelines.add(new(pipeline_id, **shape), now=NOW)
    return (await store.placements.place(place_request(pipeline_id), now=NOW)).status


async def test_a_choice_is_kept_as_it_was_made(store: GamePipelineStore) -> None:
    await nodes(store, busy=0.8, calm=0.1, down=0.0)
    await store.nodes.update("down", NodeChange(state=NodeState.MAINTENANCE), now=NOW)
    assert await place(store, "p1") is PlaceStatus.PLACED
    await nodes(store, busy=0.0, calm=1.0, later=0.0)
    (generation,) = await store.pipelines.generations("p1")
    why = generation.explanation
    assert why is not None
    assert (why.nodes, why.candidates) == (3, 2)
    assert [one.node_id for one in why.ranked] == ["calm", "busy"]
    loads = [one.terms["load"] for one in why.ranked]
    assert loads[0] < loads[1]
    assert [round(sum(one.terms.values()), 4) for one in why.ranked] == [
        round(one.cost, 4) for one in why.ranked
    ]


async def test_an_offer_is_explained_too(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await place(store, "first")
    assert await place(store, "second") is PlaceStatus.QUEUED
    done = save_request("first", 3, PipelineState.COMPLETED, release=True)
    await store.pipelines.save(done, now=NOW)
    (generation,) = await store.pipelines.generations("second")
    assert generation.explanation is not None
    assert generation.explanation.ranked[0].node_id == "n1"


async def test_a_forecast_leaves_nothing_behind(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=4), now=NOW)
    await place(store, "p1")
    last = await store.events.last_id()
    for _ in range(2):
        found = await store.placements.forecast(spec(), {}, now=NOW, count=10)
        assert (found.fitting, found.placed[0].count) == (3, 3)
        assert found.refused is not None
        assert found.refused.remedies[0].text == "free 1 core on n1"
    assert len(await store.placements.live_allocations()) == 1
    assert (await store.placements.queue(), await store.events.last_id()) == ((), last)


async def test_a_forecast_waits_for_no_placement(store: GamePipelineStore) -> None:
    """While a transaction holds the lock of placements."""
    await store.nodes.register(registration("n1", cpu=4), now=NOW)
    begun, over = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        assert over.wait(30)

    writing = asyncio.create_task(store._database.write(hold, placing=True))
    await asyncio.to_thread(begun.wait, 30)
    found = await asyncio.wait_for(store.placements.forecast(spec(), {}, now=NOW, count=2), 20)
    over.set()
    await writing
    assert found.fitting == 2


async def test_weights_and_capacity_come_from_the_policy(store_url: str) -> None:
    policy = Policy(
        weights=Weights(load=0, packing=0),
        templates={"calm": Weights(load=1, packing=0)},
        capacity=Capacity(cpu_factor=2, reserve_cpu=1),
    )
    store = await GamePipelineStore.open(store_url, policy=policy)
    await nodes(store, a=0.9, b=0.1)
    for name, node_id in (("any", "a"), ("calm", "b")):
        await place(store, name, model=name)
        assert (await store.pipelines.get(name)).node_id == node_id
    pinned = PlacementRequest(node="b")
    found = await store.placements.forecast(spec(cpu=14.5, placement=pinned), {}, now=NOW)
    await store.close()
    assert found.refused is not None
    (said,) = [one.message for one in found.refused.verdicts if one.node_id == "b"]
    assert said == "has 14 of 14.5 cores free"
