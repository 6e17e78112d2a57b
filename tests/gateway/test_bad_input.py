"""Input that no store can keep, or that no pipeline file may hold: refused with a remedy."""

import json
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
from fastapi import FastAPI
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.exc import DataError

from gamepipe.v1 import node_pb2, node_pb2_grpc
from gamepipe.v1 import pipeline_pb2 as pb
from gamepipe.v1.pipeline_pb2_grpc import GamePipelineGRPCServiceStub
from gateway.rest import problem
from tests.gateway.conftest import Gateway
from tests.gateway.test_clients import refusal
from tests.gateway.test_pipelines import HELLO, reason
from tests.store.conftest import NOW
from tests.store.shapes import new, registration

HUGE = "9" * 30
MARKED = "s3cr3t"
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


@pytest.fixture(scope="module")
async def settled(quiet_gateway: Gateway) -> Gateway:
    """It knows the pipeline p and the node n1."""
    await quiet_gateway.store.pipelines.add(new("p"), now=NOW)
    await quiet_gateway.store.nodes.register(registration("n1"), now=NOW)
    return quiet_gateway


@pytest.mark.parametrize(
    "path",
    [
        f"/events?after_id={HUGE}",
        f"/pipelines?page={HUGE}",
        f"/pipelines?page={2**31}&size=1000",
        f"/pipelines/p/events?after_id={HUGE}",
        f"/pipelines/p/logs?attempt={HUGE}",
        f"/pipelines/p/logs?generation={HUGE}",
        f"/pipelines/p/logs?tail={HUGE}",
        "/pipelines?name=%00",
        "/pipelines?label=a%3D%00",
        "/pipelines?node_id=a%00b",
        "/pipelines?start_time=0001-01-01T00:00:00%2B23:59",
        "/pipelines?end_time=9999-12-31T23:59:59-23:59",
        "/pipelines/p/logs?search=%00",
        "/pipelines/p/logs?step=%00",
        "/nodes/%00",
        "/instances?pipeline_id=%00",
    ],
)
async def test_an_address_with_what_no_store_keeps(settled: Gateway, path: str) -> None:
    assert reason(await settled.http.get(path)) == (422, "INVALID_REQUEST")


async def test_the_largest_numbers_that_are_taken_find_nothing(settled: Gateway) -> None:
    for path in (
        f"/events?after_id={2**63 - 1}",
        f"/pipelines?page={2**31 - 1}&size=1000",
        f"/pipelines/p/logs?attempt={2**31 - 1}&generation={2**31 - 1}",
    ):
        assert (await settled.http.get(path)).status_code == 200
    late = {"last-event-id": str(2**63)}
    assert reason(await settled.http.get("/events", headers=late)) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/pipelines/p", r'{"name": "a\u0000b"}'),
        ("PATCH", "/pipelines/p", r'{"name": "a\ud800b"}'),
        ("PATCH", "/pipelines/p", r'{"name": "   "}'),
        ("PATCH", "/pipelines/p", '{"name": ""}'),
        ("PATCH", "/pipelines/p", json.dumps({"name": "x" * 201})),
        ("PATCH", "/pipelines/p", r'{"name": "two\nlines"}'),
        ("PATCH", "/pipelines/p", r'{"labels": {"a": "b\u0000"}}'),
        ("PATCH", "/pipelines/p", r'{"labels": {"a\u0000": "b"}}'),
        ("PATCH", "/pipelines/p", '{"labels": {"no spaces": "b"}}'),
        ("PATCH", "/pipelines/p", json.dumps({"labels": {"a": "x" * 1001}})),
        (
            "PATCH",
            "/pipelines/p",
            json.dumps({"labels": {f"l{n}": "x" * 999 for n in range(2000)}}),
        ),
        ("PATCH", "/pipelines/p", '{"priority": 99999999999999999999}'),
        ("PATCH", "/pipelines/p", '{"args": {"WHO": "me"}}'),
        ("PATCH", "/pipelines/p", '{"secrets": {"WHO": "s3cr3t"}}'),
        ("PATCH", "/pipelines/p", r'{"\ud800": 1}'),
        ("POST", "/pipelines/p/cancel", r'{"reason": "a\u0000b"}'),
        ("POST", "/pipelines/p/cancel", r'{"reason": "a\ud800b"}'),
        ("POST", "/pipelines/p/cancel", '{"grace_seconds": NaN}'),
        ("POST", "/pipelines/p/cancel", '{"grace_seconds": 1e308}'),
        ("POST", "/pipelines", r'{"definition": {}, "file": "\ud800"}'),
        ("POST", "/pipelines", r'{"definition": {}, "id": "\u0000"}'),
        ("POST", "/pipelines", r'{"definition": {}, "\ud800": 1}'),
        ("PATCH", "/nodes/n1", r'{"alias": "a\u0000b"}'),
        ("PATCH", "/nodes/n1", r'{"labels": {"a": "\ud800"}}'),
        ("PATCH", "/nodes/n1", '{"labels": {"no spaces": "b"}}'),
        ("PATCH", "/nodes/n1", r'{"location": {"region": "\u0000"}}'),
    ],
)
async def test_a_body_with_what_no_file_may_hold(
    settled: Gateway, method: str, path: str, body: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await settled.http.request(method, path, content=body, headers=headers)
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert MARKED not in answer.text


@pytest.mark.parametrize("flawed", [rf"{MARKED}\u0000", rf"{MARKED}\ud800"])
@pytest.mark.parametrize("kind", ["args", "envs", "secrets"])
async def test_values_with_what_no_store_keeps_are_not_repeated(
    settled: Gateway, kind: str, flawed: str
) -> None:
    steps = '[{"type": "command", "command": "true"}]'
    definition = f'{{"name": "x", "{kind}": ["X"], "steps": {steps}}}'
    body = f'{{"definition": {definition}, "{kind}": {{"X": "{flawed}"}}}}'
    headers = {"content-type": "application/json"}
    answer = await settled.http.post("/pipelines", content=body, headers=headers)
    assert answer.status_code == 422
    assert MARKED not in answer.text


@pytest.mark.parametrize("what", ["events", "placement", "logs"])
async def test_what_belongs_to_no_pipeline_is_not_found(settled: Gateway, what: str) -> None:
    assert reason(await settled.http.get(f"/pipelines/ghost/{what}")) == (404, "NOT_FOUND")


@pytest.fixture
async def channel(gateway: Gateway) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield channel


async def test_the_same_is_refused_over_grpc(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    await gateway.submit(HELLO, id="p")
    client = GamePipelineGRPCServiceStub(channel)
    for call in (
        client.GetPipeline(pb.GetPipelineRequest(id="a\0")),
        client.UpdatePipeline(pb.UpdatePipelineRequest(id="p", name=" ")),
        client.UpdatePipeline(pb.UpdatePipelineRequest(id="p", priority=5000)),
        client.UpdatePipeline(
            pb.UpdatePipelineRequest(id="p", labels=pb.Labels(labels={"a": "\0"}))
        ),
        client.CancelPipeline(pb.CancelPipelineRequest(id="p", reason="\0")),
        client.CancelPipeline(pb.CancelPipelineRequest(id="p", grace_seconds=float("nan"))),
        client.CancelPipeline(pb.CancelPipelineRequest(id="p", grace_seconds=1e300)),
        client.ListPipelines(pb.ListPipelinesRequest(labels={"\0": "a"})),
        client.ListPipelines(pb.ListPipelinesRequest(start_time=Timestamp(seconds=10**14))),
        client.ListPipelines(pb.ListPipelinesRequest(sort_by="colour")),
        client.StreamLogs(pb.StreamLogsRequest(id="p", search="\0")).read(),
    ):
        assert await refusal(call) == INVALID
    request = pb.WatchPipelineRequest(id="p", after_event_id=2**64 - 1)
    watch = client.WatchPipeline(request)
    await client.CancelPipeline(pb.CancelPipelineRequest(id="p"))
    assert [event async for event in watch] == []
    facts = node_pb2.NodeFacts(cpu=1, memory_bytes=1, os="\0")
    register = node_pb2.RegisterRequest(node_id="n2", protocol=1, facts=facts)
    assert await refusal(node_pb2_grpc.GameNodeServiceStub(channel).Register(register)) == INVALID


async def test_what_slips_through_to_the_database_is_the_callers_mistake_too() -> None:
    app = FastAPI()
    problem.install(app)

    @app.get("/")
    async def out_of_range() -> None:
        raise DataError(f"INSERT {MARKED}", {"x": MARKED}, Exception(MARKED))

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/")
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert MARKED not in answer.text
