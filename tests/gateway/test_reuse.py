"""The id of a deleted pipeline, used again while its workflow still closes: what clients ask for is
about the new pipeline."""

from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from gamepipe.v1 import pipeline_pb2 as pb
from gamepipe.v1.pipeline_pb2_grpc import GamePipelineGRPCServiceStub
from gamepipe.wire import workflow_id
from gateway import ending
from tests.gateway.conftest import Gateway
from tests.gateway.test_clients import refusal, step
from tests.workflows.test_reuse import LastSave

ONE = {"name": "one", "steps": [{"name": "only", "type": "command", "command": "true"}]}
OTHER = ONE | {"name": "other"}


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[GamePipelineGRPCServiceStub]:
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield GamePipelineGRPCServiceStub(channel)


@pytest.fixture
async def reused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The id of a pipeline that cannot start yet: the last save of the one before is not answered.
    Behind the test that one has completed, as if nobody had asked for anything."""
    await gateway.node("n1")
    last = LastSave(gateway.store, monkeypatch)
    pipeline_id = await gateway.submit(ONE, id="again")
    await last.committed.wait()
    old = gateway.client.get_workflow_handle(workflow_id(pipeline_id))
    assert (await gateway.http.delete(f"/pipelines/{pipeline_id}")).status_code == 204
    assert await gateway.submit(OTHER, id=pipeline_id) == pipeline_id
    yield pipeline_id
    last.answer.set()
    assert await old.result() is not None


async def test_a_forced_deletion_waits_for_nothing(
    gateway: Gateway, reused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "END_MARGIN", timedelta(seconds=1))
    answer = await gateway.http.delete(f"/pipelines/{reused}", params={"force": True})
    assert answer.status_code == 204, answer.text


async def test_status_of_a_step_is_not_taken_for_the_old_one(
    client: GamePipelineGRPCServiceStub, reused: str
) -> None:
    refused = await refusal(client.UpdateStepStatus(step(reused, "completed")))
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")


async def test_status_of_the_pipeline_counts_before_it_has_begun(
    client: GamePipelineGRPCServiceStub, reused: str
) -> None:
    def status(state: str, message: str = "") -> pb.UpdatePipelineStatusRequest:
        return pb.UpdatePipelineStatusRequest(id=reused, state=state, message=message)

    shown = await client.UpdatePipelineStatus(status("not_started"))
    assert shown.pipeline.state == "not_started"
    refused = await refusal(client.UpdatePipelineStatus(status("running")))
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    failed = (await client.UpdatePipelineStatus(status("failed", "too late"))).pipeline
    assert (failed.state, failed.reason, failed.message) == (
        "failed",
        "REPORTED_FAILED",
        "too late",
    )
