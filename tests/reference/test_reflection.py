"""The whole contract can be walked by reflection alone: no generated code, no schema at hand."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.gateway.conftest import Gateway

SERVICE = "gamepipe.v1.GamePipelineGRPCService"
FILE = "name: walked\nsteps: [{name: one, type: command, command: echo one}]"


class Walker:
    """Calls methods by name, with requests made of plain mappings."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def methods(self, service: str) -> list[str]:
        return [one.name for one in self._pool.FindServiceByName(service).methods]

    def call(self, method: str, **fields: Any) -> Any:
        found = self._pool.FindServiceByName(SERVICE).FindMethodByName(method)
        request = GetMessageClass(found.input_type)(**fields)
        path = f"/{SERVICE}/{method}"
        kind = self._channel.unary_stream if found.server_streaming else self._channel.unary_unary
        call = kind(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )
        return call(request, timeout=60)


@contextmanager
def walking(address: str) -> Iterator[Walker]:
    with grpc.insecure_channel(address) as channel:
        yield Walker(channel)


async def walk(gateway: Gateway, work: Callable[[Walker], Any]) -> Any:
    """In a thread: reflection's client is not asynchronous."""

    def run() -> Any:
        with walking(gateway.grpc_address) as walker:
            return work(walker)

    return await asyncio.to_thread(run)


async def test_reflection_names_every_service_and_method(gateway: Gateway) -> None:
    services, methods = await walk(
        gateway, lambda walker: (walker.database.get_services(), walker.methods(SERVICE))
    )
    assert {
        SERVICE,
        "gamepipe.v1.GameNodeService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= set(services)
    assert set(methods) == {
        *("CreatePipeline", "GetPipeline", "ListPipelines", "UpdatePipeline", "DeletePipeline"),
        *("CancelPipeline", "UpdatePipelineStatus", "UpdateStepStatus"),
        *("StreamLogs", "WatchPipeline"),
    }


async def test_a_pipeline_is_run_watched_and_deleted_by_reflection_alone(gateway: Gateway) -> None:
    await gateway.node("n1")

    def work(walker: Walker) -> tuple[Any, list[str], Any]:
        walker.call("CreatePipeline", definition=FILE, id="walked")
        events = [one.event.kind for one in walker.call("WatchPipeline", id="walked")]
        shown = walker.call("GetPipeline", id="walked").pipeline
        list(walker.call("StreamLogs", id="walked"))
        walker.call("DeletePipeline", id="walked")
        return shown, events, walker.call("ListPipelines")

    shown, events, listed = await walk(gateway, work)
    assert (shown.state, [step.state for step in shown.steps]) == ("completed", ["completed"])
    assert events[0] == "pipeline_created"
    assert events[-1] == "pipeline_state_changed"
    assert "walked" not in [one.id for one in listed.items]
