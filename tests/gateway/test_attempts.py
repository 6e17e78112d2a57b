"""What an agent gets and sends over gRPC while it runs an attempt: values, and lines."""

from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gamepipe.v1 import log_pb2, node_pb2, node_pb2_grpc, pipeline_pb2, step_pb2
from gamepipe.v1.pipeline_pb2_grpc import GamePipelineGRPCServiceStub
from tests.gateway.conftest import Gateway
from tests.gateway.stream import request
from tests.gateway.test_nodes import SECRET
from tests.gateway.test_pipelines import reason
from tests.waiting import eventually
from tests.workflows.node import until_stopped


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


async def test_lines_over_grpc_name_their_step(
    gateway: Gateway, agent: node_pb2_grpc.GameNodeServiceStub
) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(SECRET, envs={"TOKEN": "x"})
    await node.started["one"].wait()
    own = await agent.Register(request())
    [_ async for _ in agent.PushLogs(iter([push(own, pipeline_id, 1, 2)]))]
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        asked = pipeline_pb2.StreamLogsRequest(id=pipeline_id)
        answers = [one async for one in GamePipelineGRPCServiceStub(channel).StreamLogs(asked)]
    told = [(one.step_name, one.key.step_index, one.line.text) for one in answers]
    assert told == [("one", 0, "step 0 line 1"), ("one", 0, "step 0 line 2")]
