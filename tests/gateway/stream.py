"""One agent's stream, spoken by hand."""

import asyncio
import contextlib

import grpc

from gamepipe.v1 import node_pb2, node_pb2_grpc

FACTS = node_pb2.NodeFacts(cpu=4, memory_bytes=1 << 33, features=["command"])
BEAT = node_pb2.Heartbeat(cpu_share=0.5, running_steps=3)
BEAT_SECONDS = 0.3


def request(node_id: str = "n1", **changes: object) -> node_pb2.RegisterRequest:
    fields = {"node_id": node_id, "facts": FACTS, "protocol": 1} | changes
    return node_pb2.RegisterRequest(**fields)  # type: ignore[arg-type]


def hello_of(node_id: str, answer: node_pb2.RegisterResponse) -> node_pb2.Hello:
    return node_pb2.Hello(node_id=node_id, session=answer.session, session_key=answer.session_key)


class Stream:
    """Says and hears one message at a time; once it is welcome it beats, until it ends."""

    def __init__(self, stub: node_pb2_grpc.GameNodeServiceStub) -> None:
        self._call = stub.Connect()
        self._saying = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None

    async def say(self, **message: object) -> None:
        async with self._saying:
            await self._call.write(node_pb2.ConnectRequest(**message))  # type: ignore[arg-type]

    async def hear(self, kind: str) -> node_pb2.ConnectResponse:
        """The next message, which must be of that kind."""
        message = await asyncio.wait_for(self._call.read(), 10)
        assert isinstance(message, node_pb2.ConnectResponse), f"the stream ended before {kind}"
        assert message.WhichOneof("message") == kind
        return message

    async def ends(self) -> None:
        assert await asyncio.wait_for(self._call.read(), 10) is grpc.aio.EOF

    async def greet(self, hello: node_pb2.Hello) -> None:
        """Until it is welcome; a gateway lets go of one that does not beat from then on."""
        await self.say(hello=hello)
        await self.hear("welcome")
        self._beating = asyncio.create_task(self._keep_beating())

    async def _keep_beating(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self.say(heartbeat=BEAT)
                await asyncio.sleep(BEAT_SECONDS)


async def opened(
    stub: node_pb2_grpc.GameNodeServiceStub,
    registered: node_pb2.RegisterResponse,
    node_id: str = "n1",
) -> Stream:
    """A stream of one that has registered."""
    stream = Stream(stub)
    await stream.greet(hello_of(node_id, registered))
    return stream


async def connect(stub: node_pb2_grpc.GameNodeServiceStub, node_id: str = "n1") -> Stream:
    return await opened(stub, await stub.Register(request(node_id)), node_id)
