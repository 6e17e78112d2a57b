"""What agents say over gRPC, and what operators see of it over REST."""

import asyncio
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from temporalio.client import Client

from gamepipe.model.state import Connectivity, PipelineState
from gamepipe.v1 import node_pb2, node_pb2_grpc
from tests.cli.test_usage import gamepipe
from tests.gateway.conftest import Gateway, running
from tests.gateway.stream import BEAT, Stream, connect, hello_of, opened, request
from tests.gateway.test_pipelines import reason
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.node import now
from tests.workflows.shapes import service_up

SECRET = {
    "name": "secret",
    "envs": ["TOKEN"],
    "steps": [{"name": "one", "type": "command", "command": "echo ${{ envs.TOKEN }}"}],
}
GAME = {
    "name": "game",
    "steps": [{"name": "game", "type": "service", "container": {"image": "games/one:1"}}],
}


async def test_a_node_registers_and_is_seen(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    answer = await agent.Register(request(labels={"disk": "ssd"}))
    assert (answer.session, answer.ttl_seconds) == (1, 3.0)
    assert answer.temporal_address == gateway.settings.temporal_address
    (node,) = (await gateway.http.get("/nodes")).json()
    assert (node["id"], node["labels"], node["facts"]["cpu"]) == ("n1", {"disk": "ssd"}, 4.0)
    await connect(agent)

    async def beaten() -> bool:
        seen = (await gateway.http.get("/nodes/n1")).json()
        return bool(seen["metrics"]["running_steps"] == BEAT.running_steps)

    await eventually(beaten, what="the heartbeat")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node_id": "no spaces"}, "--node-id"),
        ({"facts": node_pb2.NodeFacts()}, "--facts"),
    ],
)
async def test_a_wrong_registration_says_what_would_be_right(
    agent: node_pb2_grpc.GameNodeServiceStub, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent.Register(request(**changes))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in (caught.value.details() or "")
    raw = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(raw).details[0].Unpack(info)  # type: ignore[arg-type]
    assert info.reason == "INVALID_REQUEST"


async def test_the_newest_session_wins(
    agent: node_pb2_grpc.GameNodeServiceStub,
) -> None:
    first = await agent.Register(request())
    older = await opened(agent, first)
    await connect(agent)
    superseded = await older.hear("superseded")
    assert superseded.superseded.newest_session == 2
    await older.ends()
    late = Stream(agent)
    await late.say(hello=hello_of("n1", first))
    await late.hear("superseded")


async def test_a_stream_must_begin_with_a_known_node(
    agent: node_pb2_grpc.GameNodeServiceStub,
) -> None:
    for first, code in (
        ({"heartbeat": node_pb2.Heartbeat()}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"hello": node_pb2.Hello(node_id="ghost", session=1)}, grpc.StatusCode.NOT_FOUND),
    ):
        stream = Stream(agent)
        await stream.say(**first)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.hear("welcome")
        assert caught.value.code() is code


async def test_stop_orders_and_states_go_down_and_confirmations_up(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    stream = await connect(agent)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "x"})

    async def runs() -> bool:
        record = (await gateway.http.get(f"/pipelines/{pipeline_id}")).json()
        return bool(record["state"] == "running")

    await eventually(runs, what="a placement")
    await gateway.store.pipelines.update_status(
        pipeline_id, PipelineState.FAILED, reason="WORKFLOW_LOST", message="", now=now()
    )
    order = (await stream.hear("stop_order")).stop_order
    assert (order.pipeline_id, order.HasField("step_index")) == (pipeline_id, False)
    await gateway.http.patch("/nodes/n1", json={"state": "maintenance"})
    state = await stream.hear("node_state_changed")
    assert state.node_state_changed.state == "maintenance"
    await stream.say(node_state_taken=node_pb2.NodeStateTaken(state="maintenance"))
    await stream.say(stop_confirmed=node_pb2.StopConfirmed(order_id=order.order_id))

    async def confirmed() -> bool:
        node = (await gateway.http.get("/nodes/n1")).json()
        return not node["stop_orders"] and node["agent_state"] == "maintenance"

    await eventually(confirmed, what="the confirmation")
    refused = await gateway.http.patch("/nodes/n1", json={"state": "disabled"})
    assert refused.status_code == 200
    back = await gateway.http.patch("/nodes/n1", json={"state": "maintenance"})
    assert reason(back) == (409, "ILLEGAL_TRANSITION")


async def test_a_node_that_owes_an_account_says_so_and_what_helps(
    gateway: Gateway,
) -> None:
    await gateway.node("n1", game=service_up)
    pipeline_id = await gateway.submit(GAME)
    await gateway.ended(pipeline_id)
    assert (await gateway.http.get("/nodes/n1")).json()["closed"] is None
    for seen in (Connectivity.LOST, Connectivity.ONLINE):
        await gateway.store.nodes.mark("n1", seen, now=now())
    node = (await gateway.http.get("/nodes/n1")).json()
    assert (node["unaccounted"], node["closed"]["code"]) == (1, "INSTANCES_UNACCOUNTED")
    assert "start Docker" in node["closed"]["message"]
    url = f"http://127.0.0.1:{gateway.settings.rest_port}"
    shown = await asyncio.to_thread(gamepipe, "nodes", GAMEPIPE_URL=url)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["ID", "n1"]
    assert shown.stderr == f"node n1 takes nothing new: it {node['closed']['message']}\n"


async def test_without_the_token_nothing_answers(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("right\n")
    async with running(
        store_url, temporal_server, temporal_client, token_file=token_file
    ) as gateway:
        assert reason(await gateway.http.get("/nodes")) == (401, "UNAUTHENTICATED")
        wrong = {"authorization": "Bearer wrong"}
        assert (await gateway.http.get("/nodes", headers=wrong)).status_code == 401
        right = {"authorization": "Bearer right"}
        assert (await gateway.http.get("/nodes", headers=right)).status_code == 200
        async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
            stub = node_pb2_grpc.GameNodeServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Register(request())
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            metadata = (("authorization", "Bearer right"),)
            assert (await stub.Register(request(), metadata=metadata)).session == 1


async def test_a_gateway_stops_while_clients_listen(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    async with running(store_url, temporal_server, temporal_client) as gateway:
        headers = {"accept": "text/event-stream"}
        base = f"http://127.0.0.1:{gateway.settings.rest_port}/api/v1"
        listener = httpx.AsyncClient(base_url=base, timeout=30)
        stream = listener.stream("GET", "/events", headers=headers)
        answer = await stream.__aenter__()
        assert answer.status_code == 200
    assert [chunk async for chunk in answer.aiter_bytes()] == []
    await listener.aclose()
