"""What agents say over gRPC, and what operators see of it over REST."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from temporalio.client import Client

from gamepipe.model.state import PipelineState
from gamepipe.v1 import log_pb2, node_pb2, node_pb2_grpc, step_pb2
from tests.gateway.conftest import Gateway, running
from tests.gateway.test_pipelines import reason
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.node import now, until_stopped

FACTS = node_pb2.NodeFacts(cpu=4, memory_bytes=1 << 33, features=["command"])
SECRET = {
    "name": "secret",
    "envs": ["TOKEN"],
    "steps": [{"name": "one", "type": "command", "command": "echo ${{ envs.TOKEN }}"}],
}


@pytest.fixture
async def agent(gateway: Gateway) -> AsyncIterator[node_pb2_grpc.GameNodeServiceStub]:
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield node_pb2_grpc.GameNodeServiceStub(channel)


def request(node_id: str = "n1", **changes: object) -> node_pb2.RegisterRequest:
    fields = {"node_id": node_id, "facts": FACTS, "protocol": 1} | changes
    return node_pb2.RegisterRequest(**fields)  # type: ignore[arg-type]


class Stream:
    """One agent's stream, spoken by hand."""

    def __init__(self, stub: node_pb2_grpc.GameNodeServiceStub) -> None:
        self._call = stub.Connect()

    async def say(self, **message: object) -> None:
        await self._call.write(node_pb2.ConnectRequest(**message))  # type: ignore[arg-type]

    async def hear(self, kind: str) -> node_pb2.ConnectResponse:
        """The next message, which must be of that kind."""
        message = await asyncio.wait_for(self._call.read(), 10)
        assert isinstance(message, node_pb2.ConnectResponse), f"the stream ended before {kind}"
        assert message.WhichOneof("message") == kind
        return message

    async def ends(self) -> None:
        assert await asyncio.wait_for(self._call.read(), 10) is grpc.aio.EOF


def hello_of(node_id: str, answer: node_pb2.RegisterResponse) -> node_pb2.Hello:
    return node_pb2.Hello(node_id=node_id, session=answer.session, session_key=answer.session_key)


async def connect(stub: node_pb2_grpc.GameNodeServiceStub, node_id: str = "n1") -> Stream:
    stream = Stream(stub)
    await stream.say(hello=hello_of(node_id, await stub.Register(request(node_id))))
    await stream.hear("welcome")
    return stream


async def test_a_node_registers_and_is_seen(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    answer = await agent.Register(request(labels={"disk": "ssd"}))
    assert (answer.session, answer.ttl_seconds) == (1, 3.0)
    assert answer.temporal_address == gateway.settings.temporal_address
    (node,) = (await gateway.http.get("/nodes")).json()
    assert (node["id"], node["labels"], node["facts"]["cpu"]) == ("n1", {"disk": "ssd"}, 4.0)
    stream = await connect(agent)
    await stream.say(heartbeat=node_pb2.Heartbeat(cpu_share=0.5, running_steps=3))

    async def beaten() -> bool:
        seen = (await gateway.http.get("/nodes/n1")).json()
        return bool(seen["metrics"]["running_steps"] == 3)

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
    older = Stream(agent)
    await older.say(hello=hello_of("n1", first))
    await older.hear("welcome")
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


async def test_values_of_a_step_go_to_its_node_only(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "s3cr3t"})
    await node.started["one"].wait()
    key = step_pb2.AttemptKey(pipeline_id=pipeline_id, generation=1, step_index=0, attempt=1)
    own = await agent.Register(request())
    fetch = node_pb2.FetchStepSecretsRequest(
        node_id="n1", key=key, session=own.session, session_key=own.session_key
    )
    assert dict((await agent.FetchStepSecrets(fetch)).values.envs) == {"TOKEN": "s3cr3t"}
    thief = await agent.Register(request("thief"))
    denied, unknown = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION
    for node_id, session, session_key, code in (
        ("n1", 0, own.session_key, denied),
        ("n1", own.session, "", denied),
        ("n1", own.session, thief.session_key, denied),
        ("n1", own.session + 1, own.session_key, unknown),
        ("thief", thief.session, thief.session_key, denied),
        ("ghost", 0, "", denied),
        ("ghost", 1, own.session_key, denied),
    ):
        fetch.node_id, fetch.session, fetch.session_key = node_id, session, session_key
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.FetchStepSecrets(fetch)
        assert caught.value.code() is code, (node_id, session)


async def test_an_agent_that_was_superseded_gets_no_values_and_leaves_no_lines(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "s3cr3t"})
    await node.started["one"].wait()
    older = await agent.Register(request())
    first = push(older, pipeline_id, 1, 1)
    assert [one.last_number async for one in agent.PushLogs(iter([first]))] == [1]
    newer = await agent.Register(request())
    assert newer.session == older.session + 1
    key = step_pb2.AttemptKey(pipeline_id=pipeline_id, generation=1, step_index=0, attempt=1)
    fetch = node_pb2.FetchStepSecretsRequest(
        node_id="n1", key=key, session=older.session, session_key=older.session_key
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent.FetchStepSecrets(fetch)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED

    async def refused() -> bool:
        try:
            [_ async for _ in agent.PushLogs(iter([push(older, pipeline_id, 2, 2)]))]
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.PERMISSION_DENIED
        return False

    await eventually(refused, what="the newer session to be known")
    second = push(newer, pipeline_id, 2, 2)
    assert [one.last_number async for one in agent.PushLogs(iter([second]))] == [2]


def push(
    own: node_pb2.RegisterResponse, pipeline_id: str, first: int, last: int, step: int = 0
) -> node_pb2.PushLogsRequest:
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC))
    lines = [
        log_pb2.LogLine(
            number=n, at=at, stream=log_pb2.LOG_STREAM_STDOUT, text=f"step {step} line {n}"
        )
        for n in range(first, last + 1)
    ]
    key = step_pb2.AttemptKey(pipeline_id=pipeline_id, generation=1, step_index=step, attempt=1)
    return node_pb2.PushLogsRequest(
        node_id="n1", session=own.session, session_key=own.session_key, key=key, lines=lines
    )


async def test_lines_are_acknowledged_and_read_in_every_form(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "x"})
    await node.started["one"].wait()
    own = await agent.Register(request())
    requests = [push(own, pipeline_id, *lines) for lines in ((1, 3), (2, 5), (9, 9))]
    answers = [answer.last_number async for answer in agent.PushLogs(iter(requests))]
    assert answers in ([5, 5, 5], [3, 5, 5])
    path = f"/pipelines/{pipeline_id}/logs"
    text = (await gateway.http.get(path)).text
    assert text == "".join(f"step 0 line {n}\n" for n in range(1, 6))
    tail = await gateway.http.get(path, params={"tail": 1, "step": "one"})
    assert tail.text == "step 0 line 5\n"
    form = await gateway.http.get(path, headers={"accept": "application/x-ndjson"})
    assert [line.count('"number"') for line in form.text.splitlines()] == [1] * 5
    wrong = await gateway.http.get(path, params={"step": "none"})
    assert reason(wrong) == (422, "INVALID_REQUEST")
    assert reason(await gateway.http.get("/pipelines/ghost/logs")) == (404, "NOT_FOUND")


@pytest.mark.parametrize("tail", [None, 2])
async def test_a_follower_gets_history_then_live_lines_and_an_end(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub, tail: int | None
) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "x"})
    await node.started["one"].wait()
    own = await agent.Register(request())
    [_ async for _ in agent.PushLogs(iter([push(own, pipeline_id, 1, 5)]))]
    lines: list[str] = []
    query = {"follow": True} | ({} if tail is None else {"tail": tail})
    path = f"/pipelines/{pipeline_id}/logs"
    async with gateway.http.stream("GET", path, params=query) as answer:  # type: ignore[arg-type]
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == "step 0 line 5":
                [_ async for _ in agent.PushLogs(iter([push(own, pipeline_id, 4, 9)]))]
            if line == "step 0 line 9":
                await gateway.http.post(f"/pipelines/{pipeline_id}/cancel")
    first = 1 if tail is None else 4
    assert lines == [f"step 0 line {n}" for n in range(first, 10)]


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
