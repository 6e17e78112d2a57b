"""Nodes: whose labels count, who may confirm, and what a node that comes back must tell first."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gamepipe.model.errors import NotFound, SessionUnknown
from gamepipe.model.node import Location, NodeMetrics
from gamepipe.model.record import EventKind, Instance
from gamepipe.model.state import Connectivity, InstanceState, PipelineState
from gamepipe.ports import NodeChange, NodeSession
from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import registration, save_request
from tests.store.test_placement import node_of, place

GAME = Instance(
    id="p.g1.s1",
    pipeline_id="p",
    generation=1,
    step_index=1,
    step_name="game",
    attempt=1,
    node_id="n1",
    started_at=NOW,
)


async def leave_game(store: GamePipelineStore) -> None:
    """Pipeline `p` completes on `n1` and leaves its game on the only GPU."""
    await store.nodes.register(registration("n1", gpus=1), now=NOW)
    await place(store, "p", gpus=1)
    end = save_request(
        "p", 3, PipelineState.COMPLETED, instances=(GAME,), release=True, ended_at=NOW
    )
    await store.pipelines.save(end, now=NOW)


async def lose_and_return(store: GamePipelineStore) -> None:
    for seen in (Connectivity.LOST, Connectivity.ONLINE):
        await store.nodes.mark("n1", seen, now=NOW)


async def live(store: GamePipelineStore) -> list[str]:
    return [held.pipeline_id for held in await store.placements.live_allocations()]


async def test_a_node_that_comes_back_takes_nothing_before_it_told_of_its_games(
    store: GamePipelineStore,
) -> None:
    await leave_game(store)
    await lose_and_return(store)
    assert await live(store) == []
    assert [one.id for one in await store.instances.expected_on("n1")] == [GAME.id]
    assert (await store.nodes.get("n1")).unaccounted == 1
    waiting = await place(store, "next", gpus=1)
    assert waiting.status is PlaceStatus.QUEUED
    assert "INSTANCES_UNACCOUNTED" in waiting.summary


async def test_a_game_that_still_runs_is_alive_again_with_its_allocation(
    store: GamePipelineStore,
) -> None:
    await leave_game(store)
    await lose_and_return(store)
    game, offers = await store.instances.observe(GAME.id, InstanceState.RUNNING, now=NOW)
    assert (game.state, game.ended_at, offers) == (InstanceState.RUNNING, None, ())
    assert await live(store) == ["p"]
    assert (await store.nodes.get("n1")).unaccounted == 0
    assert "GPU_SHORT" in (await place(store, "next", gpus=1)).summary
    told = await store.events.read(kinds=(EventKind.INSTANCE_STATE_CHANGED,))
    assert [event.data["state"] for event in told] == ["running", "lost", "running"]
    await store.instances.observe(GAME.id, InstanceState.EXITED, now=NOW)
    assert await live(store) == []


@pytest.mark.parametrize("state", [InstanceState.LOST, InstanceState.EXITED])
async def test_a_game_that_is_gone_stays_lost_and_opens_its_node(
    store: GamePipelineStore, state: InstanceState
) -> None:
    await leave_game(store)
    await lose_and_return(store)
    game, _ = await store.instances.observe(GAME.id, state, now=NOW)
    assert game.state is InstanceState.LOST
    (order,) = await store.nodes.stop_orders("n1")  # what is left of it is removed
    await store.nodes.confirm_stop(order.id, node_id="n1", now=NOW)
    assert node_of(await place(store, "next", gpus=1)) == "n1"


async def test_a_game_that_nobody_wants_any_more_is_stopped_on_its_return(
    store: GamePipelineStore,
) -> None:
    """Its pipeline went on to another generation meanwhile."""
    await store.nodes.register(registration("n1", gpus=1), now=NOW)
    await place(store, "p", gpus=1)
    up = save_request("p", 3, PipelineState.RUNNING, instances=(GAME,))
    await store.pipelines.save(up, now=NOW)
    await lose_and_return(store)
    again = save_request("p", 4, PipelineState.PENDING, generation=2)
    await store.pipelines.save(again, now=NOW)
    game, _ = await store.instances.observe(GAME.id, InstanceState.RUNNING, now=NOW)
    assert game.state is InstanceState.LOST
    (order,) = await store.nodes.stop_orders("n1")
    assert (order.pipeline_id, order.generation) == ("p", 1)


async def test_a_game_whose_pipeline_was_deleted_meanwhile_is_stopped_on_its_return(
    store: GamePipelineStore,
) -> None:
    await leave_game(store)
    await store.nodes.mark("n1", Connectivity.LOST, now=NOW)
    await store.pipelines.delete("p", now=NOW)
    await store.nodes.mark("n1", Connectivity.ONLINE, now=NOW)
    with pytest.raises(NotFound):
        await store.instances.observe(GAME.id, InstanceState.RUNNING, now=NOW)
    (order,) = await store.nodes.stop_orders("n1")
    assert (order.pipeline_id, order.generation) == ("p", 1)
    assert "STOP_UNCONFIRMED" in (await place(store, "next", gpus=1)).summary


async def test_only_the_node_that_got_an_order_confirms_it(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await place(store, "p")
    held = save_request(
        "p", 3, PipelineState.CANCELED, release=True, hold_for_node=True, node_id="n1"
    )
    await store.pipelines.save(held, now=NOW)
    (order,) = await store.nodes.stop_orders("n1")
    assert await store.nodes.confirm_stop(order.id, node_id="n2", now=NOW) == ()
    assert await store.nodes.stop_orders("n1") == (order,)
    assert await live(store) == ["p"]


async def test_labels_and_location_are_the_agents_until_people_set_them(
    store: GamePipelineStore,
) -> None:
    first = registration("n1", labels={"disk": "hdd"})
    await store.nodes.register(first, now=NOW)
    moved = replace(first, labels={"disk": "ssd"}, location=Location(region="eu"))
    node = await store.nodes.register(moved, now=NOW)
    assert (node.labels, node.location.region) == ({"disk": "ssd"}, "eu")
    await store.nodes.update("n1", NodeChange(labels={"disk": "none"}), now=NOW)
    node = await store.nodes.register(replace(first, location=Location(region="us")), now=NOW)
    assert (node.labels, node.location.region) == ({"disk": "none"}, "us")
    await store.nodes.update("n1", NodeChange(location=Location(zone="a")), now=NOW)
    node = await store.nodes.register(moved, now=NOW)
    assert (node.labels, node.location) == ({"disk": "none"}, Location(zone="a"))


async def test_a_stop_that_crosses_the_loss_of_its_node_brings_no_game_back(
    store: GamePipelineStore,
) -> None:
    await leave_game(store)
    await store.nodes.mark("n1", Connectivity.LOST, now=NOW)
    game, _ = await store.instances.observe(GAME.id, InstanceState.STOPPING, now=NOW)
    assert game.state is InstanceState.LOST
    assert (await store.nodes.get("n1")).unaccounted == 1


async def test_a_game_is_wanted_though_a_step_beside_it_is_to_be_stopped(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", gpus=1), now=NOW)
    await place(store, "p", gpus=1)
    end = save_request(
        "p",
        3,
        PipelineState.COMPLETED,
        node_id="n1",
        instances=(GAME,),
        release=True,
        stop_steps=(0,),
        ended_at=NOW,
    )
    await store.pipelines.save(end, now=NOW)
    (order,) = await store.nodes.stop_orders("n1")
    assert (order.generation, order.step_index) == (1, 0)
    await lose_and_return(store)
    game, _ = await store.instances.observe(GAME.id, InstanceState.RUNNING, now=NOW)
    assert (game.state, await live(store)) == (InstanceState.RUNNING, ["p"])
    await store.nodes.confirm_stop(order.id, node_id="n1", now=NOW)
    assert (await store.instances.get(GAME.id)).state is InstanceState.RUNNING
    await store.instances.observe(GAME.id, InstanceState.EXITED, now=NOW)
    (tidying,) = await store.nodes.stop_orders("n1")
    assert tidying.step_index is None


async def test_heartbeats_of_many_nodes_are_written_together(store: GamePipelineStore) -> None:
    """Those of a superseded session and of strangers are named, and change nothing."""
    for name in ("n1", "n2", "n3"):
        await store.nodes.register(registration(name), now=NOW)
    await store.nodes.register(registration("n3"), now=NOW)
    sample, later = NodeMetrics(cpu_share=0.5), NOW + timedelta(seconds=5)
    beats = [(name, 1, sample) for name in ("n2", "stranger", "n1", "n3")]
    assert await store.nodes.heartbeat(beats, now=later) == ("n3", "stranger")
    seen = {one.id: (one.metrics, one.last_seen_at) for one in await store.nodes.list()}
    assert seen["n1"] == seen["n2"] == (sample, later)
    assert seen["n3"] == (NodeMetrics(), NOW)


async def test_a_stream_under_a_session_that_was_never_issued_is_unknown(
    store: GamePipelineStore,
) -> None:
    node = await store.nodes.register(registration("n1"), now=NOW)
    ahead = NodeSession(node_id="n1", number=node.session + 1, key=node.session_key)
    with pytest.raises(SessionUnknown):
        await store.nodes.connect(ahead, now=NOW)
