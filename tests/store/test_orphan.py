"""Allocations that nothing holds any more are found, and only those."""

from gamepipe.model.record import Instance
from gamepipe.model.state import InstanceState, PipelineState
from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration, save_request


async def placed(store: GamePipelineStore, pipeline_id: str) -> PlaceStatus:
    await store.pipelines.add(new(pipeline_id), now=NOW)
    return (await store.placements.place(place_request(pipeline_id), now=NOW)).status


async def forget(store: GamePipelineStore, pipeline_id: str, **values: object) -> None:
    """A fault: the row changes, and nobody thinks of what it holds."""

    def work(tx: Transaction) -> None:
        row = tx.lock_pipeline(pipeline_id)
        for name, value in values.items():
            setattr(row, name, value)

    await store._database.write(work)


async def live(store: GamePipelineStore) -> list[str]:
    return sorted(held.pipeline_id for held in await store.placements.live_allocations())


async def test_one_of_a_pipeline_that_ended_goes_to_who_waits(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await placed(store, "ended")
    assert await placed(store, "waits") is PlaceStatus.QUEUED
    assert await store.placements.reconcile(now=NOW) == ()
    await forget(store, "ended", state=PipelineState.FAILED.value)
    assert await store.placements.reconcile(now=NOW) == (("ended", 1),)
    assert [offer.pipeline_id for offer in await store.placements.untaken_offers()] == ["waits"]
    assert await store.placements.reconcile(now=NOW) == ()


async def test_one_of_an_earlier_generation_is_released(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await placed(store, "moved")
    await forget(store, "moved", generation=2)
    assert await store.placements.reconcile(now=NOW) == (("moved", 1),)
    assert await live(store) == []


async def test_one_that_a_game_or_an_unconfirmed_stop_holds_stays(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    for name in ("game", "stopping"):
        await placed(store, name)
    game = Instance(
        id="g",
        pipeline_id="game",
        generation=1,
        step_index=1,
        step_name="unpack",
        attempt=1,
        node_id="n1",
        state=InstanceState.RUNNING,
        started_at=NOW,
    )
    up = save_request(
        "game", 3, PipelineState.COMPLETED, node_id="n1", instances=(game,), release=True
    )
    await store.pipelines.save(up, now=NOW)
    cut = save_request(
        "stopping", 3, PipelineState.CANCELED, node_id="n1", release=True, hold_for_node=True
    )
    await store.pipelines.save(cut, now=NOW)
    assert await live(store) == ["game", "stopping"]
    assert await store.placements.reconcile(now=NOW) == ()
