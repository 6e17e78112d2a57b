"""`python -m bench.simulated`: many agents in one process, as far as a gateway can tell.

They register as gRPC agents, hold their streams and send heartbeats; they print `connected` once
all of them are, and run until they are terminated.
"""

import argparse
import asyncio
import random

import grpc

from gamepipe.v1 import node_pb2
from gamepipe.v1.node_pb2_grpc import GameNodeServiceStub

AGENTS_PER_CHANNEL = 50
CONNECTING_AT_ONCE = 16
FACTS = node_pb2.NodeFacts(cpu=8, memory_bytes=1 << 35, disk_bytes=1 << 40, features=["container"])


class Simulated:
    """One agent."""

    def __init__(self, stub: GameNodeServiceStub, node_id: str, interval: float) -> None:
        self._stub = stub
        self._node_id = node_id
        self._interval = interval

    async def connect(self) -> None:
        request = node_pb2.RegisterRequest(
            node_id=self._node_id, facts=FACTS, transport="grpc", protocol=1
        )
        answer = await self._stub.Register(request)
        self._call = self._stub.Connect()
        hello = node_pb2.Hello(
            node_id=self._node_id, session=answer.session, session_key=answer.session_key
        )
        await self._call.write(node_pb2.ConnectRequest(hello=hello))
        await self._call.read()

    async def live(self) -> None:
        """Beat, and read what comes down, until the stream ends."""
        reading = asyncio.create_task(self._read())
        await asyncio.sleep(random.uniform(0, self._interval))
        while not reading.done():
            beat = node_pb2.Heartbeat(cpu_share=0.5, memory_used_bytes=1 << 34)
            await self._call.write(node_pb2.ConnectRequest(heartbeat=beat))
            await asyncio.wait((reading,), timeout=self._interval)
        raise RuntimeError(f"the stream of {self._node_id} ended")

    async def _read(self) -> None:
        while isinstance(await self._call.read(), node_pb2.ConnectResponse):
            pass


async def run(address: str, agents: int, interval: float) -> None:
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-agents // AGENTS_PER_CHANNEL))
    ]
    fleet = [
        Simulated(GameNodeServiceStub(channels[n // AGENTS_PER_CHANNEL]), f"sim-{n}", interval)
        for n in range(agents)
    ]
    room = asyncio.Semaphore(CONNECTING_AT_ONCE)
    async with asyncio.TaskGroup() as living:

        async def connect(one: Simulated) -> None:
            async with room:
                await one.connect()
            living.create_task(one.live())

        async with asyncio.TaskGroup() as connecting:
            for one in fleet:
                connecting.create_task(connect(one))
        print("connected", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.simulated", description=__doc__)
    parser.add_argument("address", help="host:port of the gateway's gRPC")
    parser.add_argument("agents", type=int)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between heartbeats")
    options = parser.parse_args()
    asyncio.run(run(options.address, options.agents, options.interval))


if __name__ == "__main__":
    main()
