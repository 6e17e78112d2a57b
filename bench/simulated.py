"""`python -m bench.simulated`: many agents in one process, as far as a gateway can tell.

Each is the link of a real agent, with a connection of its own: it registers as one that speaks
gRPC, holds its stream, sends heartbeats, and comes back as agents do. `connected` is printed
whenever all of them are: at first, and each time they all came back. Runs until it is terminated.
"""

import argparse
import asyncio
import resource
from collections.abc import Callable

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.link import GatewayLink
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.registration import FEATURES, PROTOCOL
from gamepipe.agent.stop_order import StopOrdered
from gamepipe.logs import configure_logging
from gamepipe.model.node import NodeMetrics
from gamepipe.v1 import node_pb2

CONNECTING_AT_ONCE = 16
FACTS = node_pb2.NodeFacts(cpu=8, memory_bytes=1 << 35, disk_bytes=1 << 40, features=["container"])
SAMPLE = NodeMetrics(cpu_share=0.5, memory_used_bytes=1 << 34)


class Simulated:
    """One agent: the handler of its own link."""

    def __init__(
        self,
        address: str,
        node_id: str,
        interval: float,
        came: Callable[[], None],
        *,
        transport: str = "grpc",
        facts: node_pb2.NodeFacts = FACTS,
    ) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = GatewayChannel((address,), lambda: None, options=own)
        self._came = came
        self.welcomes = 0
        self.link = GatewayLink(
            self._channel,
            node_pb2.RegisterRequest(
                node_id=node_id,
                facts=facts,
                transport=transport,
                protocol=PROTOCOL,
                features=FEATURES,
            ),
            sample=lambda: SAMPLE,
            outbox=Outbox(),
            handler=self,
            heartbeat_interval=interval,
        )

    async def run(self) -> None:
        await self.link.register()
        await self.link.run()

    async def on_welcome(self, instance_ids: tuple[str, ...]) -> None:  # noqa: ARG002
        self.welcomes += 1
        self._came()

    async def on_stop_ordered(self, order: StopOrdered) -> None:
        """Nothing runs here."""

    async def on_node_state(self, state: str) -> None:
        """It is all the same to this agent."""

    def on_work(self, work: node_pb2.Work) -> None:
        """Nobody submits any."""

    async def on_lease_lost(self, lost: node_pb2.LeaseLost) -> None:
        """It has none."""


class Fleet:
    """Says when everybody is there (again)."""

    def __init__(self, address: str, agents: int, interval: float) -> None:
        self.agents = [Simulated(address, f"sim-{n}", interval, self._look) for n in range(agents)]
        self._all = 0

    def _look(self) -> None:
        rounds = min(one.welcomes for one in self.agents)
        if rounds > self._all:
            self._all = rounds
            print("connected", flush=True)

    async def run(self) -> None:
        room = asyncio.Semaphore(CONNECTING_AT_ONCE)
        async with asyncio.TaskGroup() as living:

            async def connect(one: Simulated) -> None:
                async with room:
                    living.create_task(one.run())
                    await one.link.welcomed.wait()

            for one in self.agents:
                living.create_task(connect(one))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.simulated", description=__doc__)
    parser.add_argument("address", help="host:port of the gateway's gRPC")
    parser.add_argument("agents", type=int)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between heartbeats")
    options = parser.parse_args()
    configure_logging("ERROR")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Fleet(options.address, options.agents, options.interval).run())


if __name__ == "__main__":
    main()
