"""A link of an agent and its parts, for tests of what it says and hears."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.link import GatewayLink
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.registration import registration
from gamepipe.agent.settings import AgentSettings
from gamepipe.agent.stop_order import StopOrdered
from gamepipe.model.node import GpuFacts, Location, NodeFacts, NodeMetrics
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2
from tests.agent.gateway import Gateway

SETTINGS = AgentSettings(
    node_id="node-1", labels={"rack": "7"}, location=Location(region="eu", latitude=52.5)
)
FACTS = NodeFacts(
    cpu=8.0,
    memory_bytes=1,
    disk_bytes=2,
    gpus=(GpuFacts(index=0, model="L4", memory_bytes=3),),
    features=("command",),
)
KEY = AttemptKey(pipeline_id="p", generation=1, step_index=2, attempt=1)


class Handler:
    """Keeps what came down."""

    def __init__(self) -> None:
        self.welcomes: list[tuple[str, ...]] = []
        self.orders: list[StopOrdered] = []
        self.states: list[str] = []
        self.work: list[node_pb2.Work] = []
        self.lost: list[node_pb2.LeaseLost] = []
        self.fail_orders = 0

    async def on_welcome(self, instance_ids: tuple[str, ...]) -> None:
        self.welcomes.append(instance_ids)

    async def on_stop_ordered(self, order: StopOrdered) -> None:
        self.orders.append(order)
        if self.fail_orders:
            self.fail_orders -= 1
            raise RuntimeError("not this time")

    async def on_node_state(self, state: str) -> None:
        self.states.append(state)

    def on_work(self, work: node_pb2.Work) -> None:
        self.work.append(work)

    async def on_lease_lost(self, lost: node_pb2.LeaseLost) -> None:
        self.lost.append(lost)


class Rig:
    """A link and its parts, against one gateway."""

    def __init__(self, *addresses: str, token: str = "") -> None:
        self.channel = GatewayChannel(addresses, lambda: SecretStr(token) if token else None)
        self.outbox, self.handler = Outbox(), Handler()
        self.link = GatewayLink(
            self.channel,
            registration(SETTINGS, FACTS),
            sample=lambda: NodeMetrics(cpu_share=0.5, running_steps=3),
            outbox=self.outbox,
            handler=self.handler,
        )
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.link.register()
        self.task = asyncio.create_task(self.link.run())
        await asyncio.wait_for(self.link.welcomed.wait(), 20)

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.channel.close()


@pytest.fixture
async def rig(gateway: Gateway) -> AsyncIterator[Rig]:
    rig = Rig(gateway.address)
    yield rig
    await rig.close()


def of_kind(gateway: Gateway, kind: str) -> list:
    return [getattr(m, kind) for m in gateway.received if m.WhichOneof("message") == kind]
