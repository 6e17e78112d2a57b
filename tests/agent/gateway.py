"""A gateway for tests of the agent: real gRPC, everything it was told kept in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from gamepipe.logchunk import unpack
from gamepipe.model.record import LogLine
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.v1.node_pb2_grpc import GameNodeServiceServicer, add_GameNodeServiceServicer_to_server

Key = tuple[str, int, int, int]


def key_of(key: step_pb2.AttemptKey) -> Key:
    return key.pipeline_id, key.generation, key.step_index, key.attempt


@dataclass
class Stream:
    """One stream of an agent; `down` is what the test sends on it."""

    hello: node_pb2.Hello
    down: "asyncio.Queue[node_pb2.ConnectResponse | None]" = field(default_factory=asyncio.Queue)


class Gateway(GameNodeServiceServicer):
    """Answers as the protocol says; knobs make it fail."""

    def __init__(self) -> None:
        self.port = 0
        self.token = ""
        self.temporal_address = "127.0.0.1:1"
        self.heartbeat_seconds = 0.1
        self.ttl_seconds = 30.0
        self.session = 0
        self.registered: list[node_pb2.RegisterRequest] = []
        self.refuse_registers = 0
        self.note_refused = False
        self.protocol = 1
        self.features = {"pace", "heartbeat_taken", "report_metrics"}
        self.metrics: list[node_pb2.ReportMetricsRequest] = []
        self.metrics_error: grpc.StatusCode | None = None
        self.streams: list[Stream] = []
        self.instance_ids: list[str] = []
        self.received: list[node_pb2.ConnectRequest] = []
        self.store_observations = True
        self.take_heartbeats = True
        self.outcomes: dict[str, list[int | None]] = defaultdict(list)
        """The next answers to messages of a kind; when there are none, OK."""
        self.logs: dict[Key, list[LogLine]] = defaultdict(list)
        self.pushes = 0
        self.largest_push = 0
        self.break_pushes_after: int | None = None
        self.hold_acknowledgements = asyncio.Event()
        self.hold_acknowledgements.set()
        self.values: dict[tuple[str, int], node_pb2.FetchStepSecretsResponse] = {}
        self.asked_under: list[int] = []
        """Sessions under which values were asked for."""
        self.values_error: grpc.StatusCode | None = None
        self.changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        add_GameNodeServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def until(self, condition, seconds: float = 20.0) -> None:
        """Wait until something the gateway was told makes the condition true."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), seconds)

    def texts(self, key: Key) -> list[str]:
        return [line.text for line in self.logs[key]]

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _check(self, context: grpc.aio.ServicerContext) -> None:
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        if self.token and sent != f"Bearer {self.token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")

    async def Register(self, request, context):  # noqa: N802
        await self._check(context)
        if self.refuse_registers:
            self.refuse_registers -= 1
            if self.note_refused:
                self.registered.append(request)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        self.session += 1
        self.registered.append(request)
        await self._tell()
        return node_pb2.RegisterResponse(
            session=self.session,
            heartbeat_seconds=self.heartbeat_seconds,
            ttl_seconds=self.ttl_seconds,
            temporal_address=self.temporal_address,
            temporal_namespace="default",
            protocol=self.protocol,
            features=[name for name in request.features if name in self.features],
            session_key=f"key-{self.session}",
        )

    async def Connect(  # noqa: N802
        self, requests: AsyncIterator[node_pb2.ConnectRequest], context
    ) -> None:
        await self._check(context)
        first = await context.read()
        stream = Stream(first.hello)
        self.streams.append(stream)
        welcome = node_pb2.Welcome(instance_ids=self.instance_ids)
        await context.write(node_pb2.ConnectResponse(welcome=welcome))
        await self._tell()
        reader = asyncio.create_task(self._read(context, stream))
        try:
            while (message := await stream.down.get()) is not None:
                await context.write(message)
        finally:
            reader.cancel()

    async def _read(self, context, stream: Stream) -> None:
        while isinstance(message := await context.read(), node_pb2.ConnectRequest):
            self.received.append(message)
            if message.HasField("heartbeat") and self.take_heartbeats:
                taken = node_pb2.HeartbeatTaken(sequence=message.sequence)
                await stream.down.put(node_pb2.ConnectResponse(heartbeat_taken=taken))
            wants_answer = message.sequence and not message.HasField("heartbeat")
            outcome = self._outcome(message) if wants_answer else None
            if outcome is not None:
                answered = node_pb2.Answered(sequence=message.sequence, outcome=outcome)
                await stream.down.put(node_pb2.ConnectResponse(answered=answered))
            await self._tell()

    def _outcome(self, message: node_pb2.ConnectRequest) -> int | None:
        """None: no answer comes."""
        kind = message.WhichOneof("message")
        if kind == "instance_observed":
            return node_pb2.OUTCOME_OK if self.store_observations else None
        return self.outcomes[kind].pop(0) if self.outcomes[kind] else node_pb2.OUTCOME_OK

    async def PushLogs(self, requests, context) -> None:  # noqa: N802
        await self._check(context)
        async for request in requests:
            await self.hold_acknowledgements.wait()
            self.pushes += 1
            self.largest_push = max(self.largest_push, request.ByteSize())
            if self.break_pushes_after is not None and self.pushes > self.break_pushes_after:
                self.break_pushes_after = None
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")
            stored = self.logs[key_of(request.key)]
            for line in unpack(request.packed.first, request.packed.data):
                if line.number == len(stored) + 1:
                    stored.append(line)
            answer = node_pb2.PushLogsResponse(key=request.key, last_number=len(stored))
            await context.write(answer)
            await self._tell()

    async def ReportMetrics(self, request, context):  # noqa: N802
        await self._check(context)
        self.metrics.append(request)
        await self._tell()
        if self.metrics_error is not None:
            await context.abort(self.metrics_error, "not now")
        return node_pb2.ReportMetricsResponse()

    async def FetchStepSecrets(self, request, context):  # noqa: N802
        await self._check(context)
        self.asked_under.append(request.session)
        if self.values_error is not None:
            code, self.values_error = self.values_error, None
            await context.abort(code, "no values")
        return self.values[(request.key.pipeline_id, request.key.step_index)]
