"""Two gateways on one store: a node moves between them, and each step still ends once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from gamepipe.v1 import node_pb2, step_pb2
from tests.gateway.conftest import Gateway, running
from tests.reference.client import ReferenceNode
from tests.reference.test_node import ABORTED, OK, submit
from tests.temporal_fixtures import TemporalServer


@pytest.fixture
async def other(
    gateway: Gateway, store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> AsyncIterator[Gateway]:
    """A second gateway beside the first."""
    async with running(store_url, temporal_server, temporal_client) as other:
        yield other


async def test_a_node_moves_with_its_step_while_the_older_stream_stands_half_open(
    gateway: Gateway, other: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "m1")
    work = await node.take()
    await node.running(work)
    moved = ReferenceNode("ref")
    moved.session, moved.session_key = node.session, node.session_key
    await moved.connect(other.grpc_address)
    await node.until_ended()
    assert await moved.renew(work) == OK
    assert await moved.end(work) == OK
    record = await gateway.ended(pipeline_id)
    assert (record["state"], record["steps"][0]["attempt"]) == ("completed", 1)  # type: ignore[index]
    second = await submit(other, "m2")
    assert await moved.end(await moved.take()) == OK
    assert (await other.ended(second))["state"] == "completed"
    assert node.work.empty()
    await moved.leave()


async def test_a_stream_that_says_nothing_more_is_ended_and_its_queue_left(
    gateway: Gateway,
) -> None:
    """No packet comes and none is refused: only the silence tells."""
    node = ReferenceNode("ref", beats=False)
    await node.register(gateway.grpc_address)
    await node.connect()
    await node.beat()
    await node.until_ended()
    pipeline_id = await submit(gateway, "m3")
    await node.leave()
    await node.connect(gateway.grpc_address)
    assert await node.end(await node.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    await node.leave()


async def test_a_gateway_that_ends_hands_its_nodes_over(
    other: Gateway,
    store_url: str,
    temporal_server: TemporalServer,
    temporal_client: Client,
) -> None:
    node = ReferenceNode("ref")
    async with running(store_url, temporal_server, temporal_client) as ending:
        await node.register(ending.grpc_address)
        await node.connect()
        pipeline_id = await submit(other, "m4")
        work = await node.take()
        await node.running(work)
        ending.keep_workflows = True
    await node.until_ended()
    await node.connect(other.grpc_address)
    assert await node.renew(work) == OK
    assert await node.end(work) == OK
    assert (await other.ended(pipeline_id))["state"] == "completed"
    await node.leave()


async def test_an_end_whose_answer_was_lost_is_answered_by_the_next_gateway(
    gateway: Gateway, other: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "m5")
    work = await node.take()
    node.deaf = True
    ending = asyncio.create_task(node.end(work, outputs={"size": "3"}))
    await gateway.ended(pipeline_id)
    ending.cancel()
    node.deaf = False
    await node.connect(other.grpc_address)
    assert await node.end(work, outputs={"size": "3"}) == OK
    record = await other.ended(pipeline_id)
    assert record["steps"][0]["outputs"] == {"size": "3"}  # type: ignore[index]
    kinds = [
        event["data"]["state"]
        for event in (await other.http.get(f"/pipelines/{pipeline_id}/events")).json()
        if event["kind"] == "step_state_changed"
    ]
    assert kinds.count("completed") == 1


GAME = {
    "name": "game",
    "steps": [{"name": "game", "type": "service", "container": {"image": "games/one:1"}}],
}


async def test_a_game_goes_on_when_the_answer_to_its_step_is_lost_or_comes_too_late(
    gateway: Gateway, other: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await gateway.submit(GAME, id="m6")
    work = await node.take()
    await node.running(work)
    game = step_pb2.Instance(
        id=f"{pipeline_id}.g1.s0",
        pipeline_id=pipeline_id,
        generation=1,
        step_name="game",
        attempt=1,
        node_id="ref",
        state="running",
    )
    node.deaf = True
    ending = asyncio.create_task(node.end(work, instance=game))
    await gateway.ended(pipeline_id)
    ending.cancel()
    node.deaf = False
    await node.connect(other.grpc_address)
    assert list(node.heard[-1].welcome.instance_ids) == [game.id]
    assert await node.end(work, instance=game) == OK
    assert await node.renew(work) == ABORTED
    (shown,) = (await other.http.get("/instances", params={"live": True})).json()
    assert (shown["id"], shown["state"]) == (game.id, "running")
    assert not any(message.HasField("stop_order") for message in node.heard)
    await other.http.post(f"/instances/{game.id}/stop")
    stop = await node.take("stop_instance")
    ended = node_pb2.WorkEnded(
        task_token=stop.task_token, instance_end=step_pb2.InstanceEnd(exit_code=0)
    )
    assert await node.ask(work_ended=ended) == OK
