"""A game that is played is never asked to make room."""

from dataclasses import replace

from gamepipe.model.record import Instance
from gamepipe.model.state import InstanceState, PipelineState
from gamepipe.ports import Notice
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.preempting import full, leave, room, submit
from tests.store.shapes import save_request


def instance(name: str) -> Instance:
    return Instance(
        id=f"{name}.g1.s1",
        pipeline_id=name,
        generation=1,
        step_index=1,
        step_name="game",
        attempt=1,
        node_id="n1",
        started_at=NOW,
    )


async def come_up(store: GamePipelineStore, name: str, revision: int = 3) -> tuple[Notice, ...]:
    request = save_request(
        name, revision, PipelineState.RUNNING, node_id="n1", instances=(instance(name),)
    )
    _, notices = await store.pipelines.save(request, now=NOW)
    return notices


async def test_an_instance_in_use_is_never_asked(store: GamePipelineStore) -> None:
    await full(store, "game")
    await come_up(store, "game")
    assert (await submit(store, "high", priority=5)).notices == ()
    ended = save_request("game", 4, PipelineState.COMPLETED, node_id="n1", release=True)
    await store.pipelines.save(ended, now=NOW)
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == ()


async def test_one_whose_service_comes_up_meanwhile_stays_and_another_is_asked(
    store: GamePipelineStore,
) -> None:
    await full(store, "work", "game")
    high = await submit(store, "high", priority=5)
    assert high.notices == (room("game", "high"),)
    assert await come_up(store, "game") == (room("work", "high"),)
    assert await store.placements.asked_for_room() == (room("work", "high"),)
    await store.instances.observe("game.g1.s1", InstanceState.EXITED, now=NOW)
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == (room("work", "high"),)


async def test_a_game_that_came_up_as_its_pipeline_was_to_make_room_stays(
    store: GamePipelineStore,
) -> None:
    await full(store, "game")
    await submit(store, "high", priority=5)
    request = save_request("game", 3, PipelineState.RUNNING, node_id="n1", reason="PREEMPTED")
    await store.pipelines.save(replace(request, instances=(instance("game"),)), now=NOW)
    assert await store.placements.asked_for_room() != ()
    assert await leave(store, "game", PipelineState.COMPLETED, revision=4) == ()
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == ()


async def test_another_is_asked_at_once_instead_of_a_game_that_stays_behind_its_pipelines_end(
    store: GamePipelineStore,
) -> None:
    await full(store, "work", "game")
    assert (await submit(store, "high", priority=5)).notices == (room("game", "high"),)
    request = save_request("game", 3, PipelineState.RUNNING, node_id="n1", reason="PREEMPTED")
    await store.pipelines.save(replace(request, instances=(instance("game"),)), now=NOW)
    told = await leave(store, "game", PipelineState.COMPLETED, revision=4)
    assert told == (room("work", "high"),)
