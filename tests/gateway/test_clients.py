"""What clients do over gRPC, and what the workflow makes of status that is reported by ids."""

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gamepipe.v1 import pipeline_pb2 as pb
from gamepipe.v1 import step_pb2
from gamepipe.v1.pipeline_pb2_grpc import GamePipelineGRPCServiceStub
from tests.gateway.conftest import Gateway
from tests.waiting import eventually
from tests.workflows.node import until_stopped

TWO = json.dumps(
    {
        "name": "two",
        "steps": [
            {"name": "one", "type": "command", "command": "echo one", "outputs": ["size"]},
            {"name": "two", "type": "command", "command": "echo ${{ steps.one.outputs.size }}"},
        ],
    }
)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[GamePipelineGRPCServiceStub]:
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield GamePipelineGRPCServiceStub(channel)


async def refusal(call: object) -> tuple[grpc.StatusCode, str]:
    """(code, reason) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    raw = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(raw).details[0].Unpack(info)  # type: ignore[arg-type]
    return caught.value.code(), info.reason


async def running(gateway: Gateway, client: GamePipelineGRPCServiceStub, pipeline_id: str) -> str:
    """A pipeline whose first step runs until it is stopped."""
    node = await gateway.node("n1", one=until_stopped)
    await client.CreatePipeline(pb.CreatePipelineRequest(definition=TWO, id=pipeline_id))
    await node.started["one"].wait()
    return pipeline_id


def step(
    pipeline_id: str, state: str, *, attempt: int = 1, index: int = 0, **more: object
) -> pb.UpdateStepStatusRequest:
    key = step_pb2.AttemptKey(
        pipeline_id=pipeline_id, generation=1, step_index=index, attempt=attempt
    )
    return pb.UpdateStepStatusRequest(key=key, state=state, **more)  # type: ignore[arg-type]


async def ended(client: GamePipelineGRPCServiceStub, pipeline_id: str) -> pb.Pipeline:
    async def done() -> pb.Pipeline | None:
        found = (await client.GetPipeline(pb.GetPipelineRequest(id=pipeline_id))).pipeline
        return found if found.HasField("ended_at") else None

    return await eventually(done, what=f"{pipeline_id} to end")


async def test_a_pipeline_is_created_shown_changed_listed_and_deleted(
    gateway: Gateway, client: GamePipelineGRPCServiceStub
) -> None:
    await gateway.node("n1")
    request = pb.CreatePipelineRequest(definition=TWO, id="c1")
    first, again = await client.CreatePipeline(request), await client.CreatePipeline(request)
    assert (first.created, again.created, again.pipeline.id) == (True, False, "c1")
    done = await ended(client, "c1")
    assert (done.state, [one.state for one in done.steps]) == ("completed", ["completed"] * 2)
    assert done.progress.percent == 100
    assert done.definition["name"] == "two"
    changed = await client.UpdatePipeline(
        pb.UpdatePipelineRequest(id="c1", labels=pb.Labels(labels={"a": "b"}), priority=3)
    )
    assert (dict(changed.pipeline.labels), changed.pipeline.priority) == ({"a": "b"}, 3)
    listed = await client.ListPipelines(
        pb.ListPipelinesRequest(labels={"a": "b"}, states=["completed"])
    )
    assert ([one.id for one in listed.items], listed.total) == (["c1"], 1)
    await client.DeletePipeline(pb.DeletePipelineRequest(id="c1"))
    gone = await refusal(client.GetPipeline(pb.GetPipelineRequest(id="c1")))
    assert gone == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_every_mistake_of_a_definition_comes_back(
    client: GamePipelineGRPCServiceStub,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.CreatePipeline(pb.CreatePipelineRequest(definition="steps: [{typ: x}]"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    raw = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    found = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(raw).details[1].Unpack(found)  # type: ignore[arg-type]
    assert {one.field for one in found.field_violations} >= {"name", "steps[0].typ"}


async def test_a_step_ends_as_a_client_says_once_it_is_stopped(
    gateway: Gateway, client: GamePipelineGRPCServiceStub
) -> None:
    pipeline_id = await running(gateway, client, "s1")
    shown = await client.UpdateStepStatus(step(pipeline_id, "running", percent=40.0))
    assert (shown.step.state, shown.step.percent) == ("running", 40.0)
    shown = await client.UpdateStepStatus(step(pipeline_id, "completed", outputs={"size": "7"}))
    assert (shown.step.state, dict(shown.step.outputs)) == ("completed", {"size": "7"})
    again = await client.UpdateStepStatus(step(pipeline_id, "completed"))
    assert dict(again.step.outputs) == {"size": "7"}
    done = await ended(client, pipeline_id)
    assert done.state == "completed"
    assert [one.attempt for one in done.steps] == [1, 1]


async def test_status_that_cannot_be_changes_nothing(
    gateway: Gateway, client: GamePipelineGRPCServiceStub
) -> None:
    pipeline_id = await running(gateway, client, "s2")
    await client.UpdateStepStatus(step(pipeline_id, "running"))
    before = (await client.GetPipeline(pb.GetPipelineRequest(id=pipeline_id))).pipeline
    code = grpc.StatusCode
    for request, wanted in [
        (step(pipeline_id, "completed", attempt=2), (code.ABORTED, "LEASE_LOST")),
        (step(pipeline_id, "completed", index=9), (code.NOT_FOUND, "NOT_FOUND")),
        (step(pipeline_id, "skipped"), (code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")),
        (
            step(pipeline_id, "completed", index=1, attempt=0),
            (code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
        ),
        (step(pipeline_id, "asleep"), (code.INVALID_ARGUMENT, "INVALID_REQUEST")),
        (step("nobody", "completed"), (code.NOT_FOUND, "NOT_FOUND")),
    ]:
        assert await refusal(client.UpdateStepStatus(request)) == wanted, request
    status = pb.UpdatePipelineStatusRequest(id=pipeline_id, state="completed")
    assert await refusal(client.UpdatePipelineStatus(status)) == (
        code.FAILED_PRECONDITION,
        "ILLEGAL_TRANSITION",
    )
    after = (await client.GetPipeline(pb.GetPipelineRequest(id=pipeline_id))).pipeline
    assert [one.state for one in after.steps] == [one.state for one in before.steps]
    assert (after.state, after.reason) == (before.state, before.reason)
    await client.CancelPipeline(pb.CancelPipelineRequest(id=pipeline_id, reason="enough"))
    assert (await ended(client, pipeline_id)).state == "canceled"
    late = await refusal(client.UpdateStepStatus(step(pipeline_id, "completed")))
    assert late == (code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")


async def test_a_pipeline_that_is_reported_as_failed_is_stopped_first(
    gateway: Gateway, client: GamePipelineGRPCServiceStub
) -> None:
    pipeline_id = await running(gateway, client, "s3")
    await client.UpdateStepStatus(step(pipeline_id, "running"))
    for state, message in (("running", ""), ("failed", "the game crashed")):
        request = pb.UpdatePipelineStatusRequest(id=pipeline_id, state=state, message=message)
        await client.UpdatePipelineStatus(request)
    done = await ended(client, pipeline_id)
    assert (done.state, done.reason) == ("failed", "REPORTED_FAILED")
    assert done.message == "the game crashed"
    assert [one.state for one in done.steps] == ["failed", "skipped"]
    same = pb.UpdatePipelineStatusRequest(id=pipeline_id, state="failed")
    assert (await client.UpdatePipelineStatus(same)).pipeline.state == "failed"


async def test_events_are_watched_from_the_last_seen_one_to_the_end(
    gateway: Gateway, client: GamePipelineGRPCServiceStub
) -> None:
    pipeline_id = await running(gateway, client, "w1")
    watch = client.WatchPipeline(pb.WatchPipelineRequest(id=pipeline_id))
    first = (await asyncio.wait_for(watch.read(), 10)).event
    assert first.kind == "pipeline_created"
    watch.cancel()
    await client.UpdateStepStatus(step(pipeline_id, "completed"))
    resumed = client.WatchPipeline(pb.WatchPipelineRequest(id=pipeline_id, after_event_id=first.id))
    events = [answer.event async for answer in resumed]
    assert [one.id for one in events] == sorted({one.id for one in events})
    assert events[0].id > first.id
    assert events[-1].kind == "pipeline_state_changed"
    assert events[-1].data["state"] == "completed"
