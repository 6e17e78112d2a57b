"""`GameNodeService`: what agents call."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator

import structlog

from gamepipe.config import Settings
from gamepipe.limit import UNACKNOWLEDGED_REQUESTS
from gamepipe.model.errors import InvalidRequest, LeaseLost, LimitExceeded
from gamepipe.v1 import node_pb2, node_pb2_grpc, step_pb2
from gamepipe.wire.message import attempt_key
from gateway.latency import LatencyService
from gateway.lines import LineWriter
from gateway.rpc import translate
from gateway.rpc.failure import Context, abort, translated
from gateway.rpc.measure import metrics_report, probes
from gateway.rpc.plain import check_values
from gateway.rpc.protocol import agreed, shared
from gateway.rpc.session import SessionCheck
from gateway.rpc.stream import NodeStream
from gateway.rpc.toolbox import StreamTools
from gateway.rpc.watch import StreamWatch

_log = structlog.get_logger()

GREETED_AT_ONCE = 8
"""Agents that come are greeted in turn: when a whole fleet comes, the store has room for others."""
KEY_BYTES = 16
NONCE_LENGTH = 64
TRANSPORTS = ("temporal", "grpc")
_Written = tuple[step_pb2.AttemptKey, "asyncio.Future[int]"]
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class GameNodeServicer(node_pb2_grpc.GameNodeServiceServicer):
    """Holds open streams only; everything that matters is in the store and in Temporal."""

    def __init__(
        self,
        tools: StreamTools,
        *,
        settings: Settings,
        lines: LineWriter,
        latency: LatencyService,
    ) -> None:
        self._tools = tools
        self._latency = latency
        self._agents = tools.agents
        self._lines = lines
        self._settings = settings
        self._sessions = SessionCheck(tools.agents.check_session)
        self._streams: dict[str, NodeStream] = {}
        self._greeting = asyncio.Semaphore(GREETED_AT_ONCE)
        self.watch = StreamWatch(
            tools.agents,
            self._streams,
            ttl=settings.node_ttl,
            health=tools.health,
            clock=tools.clock,
        )

    @translated
    async def Register(  # noqa: N802
        self, request: node_pb2.RegisterRequest, context: Context
    ) -> node_pb2.RegisterResponse:
        del context
        protocol = agreed(request.protocol)
        _check(request)
        registration = translate.registration(request, session_key=secrets.token_hex(KEY_BYTES))
        async with self._greeting:
            node = await self._agents.register(registration)
        _log.info(
            "node.registered", action="node.registered", node_id=node.id, session=node.session
        )
        settings, pace = self._settings, self.watch.pace
        return node_pb2.RegisterResponse(
            session=node.session,
            heartbeat_seconds=pace.heartbeat.total_seconds(),
            ttl_seconds=pace.ttl.total_seconds(),
            temporal_address=settings.temporal_address_for_agents or settings.temporal_address,
            temporal_namespace=settings.temporal_namespace,
            protocol=protocol,
            features=shared(request.features),
            session_key=node.session_key,
        )

    # A coroutine that writes by its context, which the generated types do not know of: so a write
    # that an agent never reads can be given up.
    async def Connect(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[node_pb2.ConnectRequest], context: Context
    ) -> None:
        try:
            stream = await self._greet(request_iterator)
        except LeaseLost as error:
            newest = node_pb2.Superseded(newest_session=int(error.metadata.get("session", "0")))
            await context.write(node_pb2.ConnectResponse(superseded=newest))
            return
        except Exception as error:
            await abort(context, error)
        reader = asyncio.create_task(_until_end(stream, request_iterator))
        try:
            await stream.send_all(context.write)
            failure = reader.exception() if reader.done() else None
            if isinstance(failure, Exception):
                await abort(context, failure)
        finally:
            reader.cancel()
            if self._streams.get(stream.node_id) is stream:
                del self._streams[stream.node_id]
            await stream.end()

    async def _greet(self, messages: AsyncIterator[node_pb2.ConnectRequest]) -> NodeStream:
        first = await anext(messages, None)
        if first is None or first.WhichOneof("message") != "hello":
            raise InvalidRequest("the first message on the stream must be `hello`")
        stream = NodeStream(first.hello, tools=self._tools)
        async with self._greeting:
            await stream.open(self.watch.pace)
        other = self._streams.get(stream.node_id)
        if other is not None and other.is_newer_than(stream):
            stream.supersede(other.session)
            return stream
        if other is not None:
            other.supersede(stream.session)
        self._streams[stream.node_id] = stream
        return stream

    async def PushLogs(  # noqa: N802
        self, request_iterator: AsyncIterator[node_pb2.PushLogsRequest], context: Context
    ) -> AsyncIterator[node_pb2.PushLogsResponse]:
        """One acknowledgement for each request, in their order; further ones are read meanwhile."""
        queue: asyncio.Queue[_Written | None] = asyncio.Queue()
        room = asyncio.Semaphore(UNACKNOWLEDGED_REQUESTS)
        reader = asyncio.create_task(self._read_lines(request_iterator, queue, room))
        reader.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (written := await queue.get()) is not None:
                answer = node_pb2.PushLogsResponse(key=written[0], last_number=await written[1])
                room.release()  # before the agent hears of it, and sends the next one
                yield answer
            await reader
        except Exception as error:
            await abort(context, error)
        finally:
            reader.cancel()

    async def _read_lines(
        self,
        requests: AsyncIterator[node_pb2.PushLogsRequest],
        queue: "asyncio.Queue[_Written | None]",
        room: asyncio.Semaphore,
    ) -> None:
        async for request in requests:
            if room.locked():
                raise LimitExceeded(
                    f"more than {UNACKNOWLEDGED_REQUESTS} requests of one stream of lines are not "
                    "acknowledged: wait for an answer before the next one",
                    limit="unacknowledged_requests",
                    allowed=str(UNACKNOWLEDGED_REQUESTS),
                )
            await room.acquire()
            check_values(request.key)
            await self._sessions.check(translate.session(request))
            chunk = translate.log_chunk(request)
            queue.put_nowait((request.key, self._lines.add(chunk)))

    @translated
    async def FetchStepSecrets(  # noqa: N802
        self, request: node_pb2.FetchStepSecretsRequest, context: Context
    ) -> node_pb2.FetchStepSecretsResponse:
        del context
        await self._sessions.check_now(translate.session(request))
        envs, secrets = await self._agents.step_values(attempt_key(request.key), request.node_id)
        return node_pb2.FetchStepSecretsResponse(
            values=step_pb2.StepValues(envs=envs, secrets=secrets)
        )

    @translated
    async def ReportMetrics(  # noqa: N802
        self, request: node_pb2.ReportMetricsRequest, context: Context
    ) -> node_pb2.ReportMetricsResponse:
        del context
        await self._sessions.check(translate.session(request))
        report = metrics_report(request)
        if report.round_trips_ms:
            await self._latency.report(request.node_id, probes(report.round_trips_ms))
        await self._tools.beats.report(report)
        return node_pb2.ReportMetricsResponse()

    def close_streams(self) -> None:
        """The gateway stops: agents connect to the next one."""
        for stream in list(self._streams.values()):
            stream.close()


def _check(request: node_pb2.RegisterRequest) -> None:
    if not _NODE_ID.fullmatch(request.node_id):
        raise InvalidRequest(
            f"{request.node_id!r} is no node id: 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter "
            "or digit; set it with --node-id"
        )
    if request.transport not in ("", *TRANSPORTS):
        raise InvalidRequest(
            f"{request.transport!r} is no transport: {' or '.join(TRANSPORTS)}; set it with "
            "--transport"
        )
    if len(request.nonce) > NONCE_LENGTH:
        raise InvalidRequest(f"a `nonce` has at most {NONCE_LENGTH} characters")
    if request.facts.cpu <= 0 or not request.facts.memory_bytes:
        raise InvalidRequest("a node has cores and memory: check the agent's --facts file")


async def _until_end(stream: NodeStream, messages: AsyncIterator[node_pb2.ConnectRequest]) -> None:
    try:
        await stream.take(messages)
    finally:
        stream.close()
