"""The real gateway in this process: REST and gRPC on free ports, a real store, a real Temporal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import httpx
import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.config import Settings
from gamepipe.embedded.port import pick_port
from gamepipe.model.errors import StoreUnavailable
from gamepipe.ports import PipelineFilter
from gamepipe.v1 import node_pb2_grpc
from gamepipe.wire import RunSettings, workflow_id
from gamepipe.wire.drain import drain_id
from gateway.main import serve
from store.store import GamePipelineStore
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.node import ScriptedNode, register
from worker import build_worker


@dataclass
class Gateway:
    """A running gateway and clients of it."""

    settings: Settings
    store: GamePipelineStore
    client: Client
    http: httpx.AsyncClient
    nodes: AsyncExitStack
    keep_workflows: bool = False
    """Another gateway of the same store goes on with them."""

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.settings.grpc_port}"

    @property
    def run_settings(self) -> RunSettings:
        return self.settings.run_settings()

    async def node(self, node_id: str, **behaviours: object) -> ScriptedNode:
        node = ScriptedNode(self.client, node_id, **behaviours)  # type: ignore[arg-type]
        await register(self.store, node_id)
        await self.nodes.enter_async_context(node.worker())
        return node

    async def submit(self, definition: object, **more: object) -> str:
        answer = await self.http.post("/pipelines", json={"definition": definition, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ended(self, pipeline_id: str) -> dict[str, object]:
        async def terminal() -> dict[str, object] | None:
            record = (await self.http.get(f"/pipelines/{pipeline_id}")).json()
            return record if record["ended_at"] else None

        return await eventually(terminal, what=f"{pipeline_id} to end")


@asynccontextmanager
async def running(
    store_url: str, temporal: TemporalServer, client: Client, **changes: object
) -> AsyncIterator[Gateway]:
    """A gateway until the block ends."""
    taken: set[int] = set()
    wanted: dict[str, object] = {
        "store_url": store_url,
        "temporal_address": temporal.address,
        "temporal_ui_url": temporal.ui_url,
        "rest_port": pick_port("rest", 0, taken=taken).number,
        "grpc_port": pick_port("grpc", 0, taken=taken).number,
        "heartbeat_timeout": 1,
        "schedule_to_start": 2,
        "node_ttl": 3,
        "grace": 1,
    }
    settings = Settings(**(wanted | changes))  # type: ignore[arg-type]
    shutdown = asyncio.Event()
    store = await GamePipelineStore.open(store_url)
    serving = asyncio.create_task(serve(settings, shutdown))
    base = f"http://127.0.0.1:{settings.rest_port}"
    async with (
        httpx.AsyncClient(base_url=f"{base}/api/v1", timeout=30, verify=False) as http,
        AsyncExitStack() as nodes,
    ):
        await eventually(lambda: _answers(http, base, serving), what="the gateway")
        gateway = Gateway(settings=settings, store=store, client=client, http=http, nodes=nodes)
        yield gateway
    shutdown.set()
    await serving
    if not gateway.keep_workflows:
        await _end_workflows(store, client)
    await store.close()


async def _end_workflows(store: GamePipelineStore, client: Client) -> None:
    """Other tests use the same ids on the same Temporal server."""
    with contextlib.suppress(StoreUnavailable):
        pipelines = (await store.pipelines.list(PipelineFilter(size=1000))).items
        ids = [workflow_id(record.id) for record in pipelines]
        ids += [drain_id(node.id) for node in await store.nodes.list()]
        for name in ids:
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(name).terminate("test ended")


async def _answers(http: httpx.AsyncClient, base: str, serving: "asyncio.Task[None]") -> bool:
    if serving.done():
        serving.result()
    try:
        return (await http.get(f"{base}/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def gateway(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> AsyncIterator[Gateway]:
    """A gateway with a control worker beside it."""
    async with (
        running(store_url, temporal_server, temporal_client) as gateway,
        build_worker(temporal_client, gateway.store),
    ):
        yield gateway


@pytest.fixture(scope="module")
async def quiet_gateway(
    module_store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> AsyncIterator[Gateway]:
    """One without a worker, for all tests of a module that leave it as it was: they run nothing,
    and what they ask is refused or only reads."""
    async with running(module_store_url, temporal_server, temporal_client) as gateway:
        yield gateway


@pytest.fixture
async def agent(gateway: Gateway) -> AsyncIterator[node_pb2_grpc.GameNodeServiceStub]:
    """A client as agents are."""
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield node_pb2_grpc.GameNodeServiceStub(channel)
