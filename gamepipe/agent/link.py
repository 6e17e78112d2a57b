"""The agent's stream to a gateway: heartbeats and observations up, orders down."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn, Protocol, TypeAlias

import grpc
import structlog

from gamepipe.agent.channel import GatewayChannel, describe, says
from gamepipe.agent.hearing import Hearing
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.patience import patience
from gamepipe.agent.registrar import Registrar
from gamepipe.agent.registration import HEARTBEAT_TAKEN, heartbeat_of
from gamepipe.agent.stop_order import StopOrdered, StopOrders
from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import NodeMetrics
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()

Stream: TypeAlias = "grpc.aio.StreamStreamCall[node_pb2.ConnectRequest, node_pb2.ConnectResponse]"
_HELLO_SECONDS = 10.0
_STEADY_SECONDS = 5.0
"""A stream that stood so long ends a series of tries."""
_UNKNOWN_SESSION = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


class SessionSuperseded(GamePipeError):
    """A newer agent with the same node id has registered."""

    reason = "SESSION_SUPERSEDED"


class _SessionUnknown(Exception):
    """The gateway issued no such session: its store went back since, to a backup say."""


class LinkHandler(Protocol):
    """What the link's owner does about what comes down."""

    async def on_welcome(self, instance_ids: tuple[str, ...]) -> None:
        """The server believes these instances alive on this node."""

    async def on_stop_ordered(self, order: StopOrdered) -> None:
        """Carry it out; it is confirmed when this returns, asked again when it raises."""

    async def on_node_state(self, state: str) -> None:
        """People set the node's state; it is answered when this returns."""

    def on_work(self, work: node_pb2.Work) -> None:
        """Something is to be done; the owner accepts it, and answers it by the outbox."""

    async def on_lease_lost(self, lost: node_pb2.LeaseLost) -> None:
        """Nobody waits for an attempt any more."""


class GatewayLink:
    """Registers once, then keeps a stream open with that session."""

    def __init__(
        self,
        channel: GatewayChannel,
        registration: node_pb2.RegisterRequest,
        *,
        sample: Callable[[], NodeMetrics],
        outbox: Outbox,
        handler: LinkHandler,
        heartbeat_interval: float | None = None,
    ) -> None:
        self._channel = channel
        self._registrar = Registrar(channel, registration)
        self._sample = sample
        self._handler = handler
        self._interval = heartbeat_interval
        self._pace = node_pb2.Pace()
        self._features = frozenset[str]()
        """That both sides know."""
        self._outbox = outbox
        self._orders = StopOrders(handler.on_stop_ordered, outbox)
        self._hearing = Hearing()
        self.welcomed = asyncio.Event()
        """Set for good once a gateway has answered on the stream."""

    @property
    def silent_seconds(self) -> float:
        """Since the last word of this agent that a gateway is known to have heard."""
        return self._hearing.silent_seconds

    @property
    def ttl_seconds(self) -> float:
        """Of silence, after which the node may be lost; 0: no gateway has said."""
        return self._pace.ttl_seconds

    def has(self, feature: str) -> bool:
        """Whether the gateway that registered this node knows it, too."""
        return feature in self._features

    def declare(self, registration: node_pb2.RegisterRequest) -> None:
        """The node has changed: register anew and go on with that session on a new stream."""
        self._registrar.declare(registration)

    async def register(self) -> node_pb2.RegisterResponse:
        """Register; retried until a gateway answers. Raises `RegistrationRefused`."""
        answer = await self._registrar.register(self.ttl_seconds)
        self._features = frozenset(answer.features)
        self._hearing.answered()
        self._pace = node_pb2.Pace(
            heartbeat_seconds=answer.heartbeat_seconds, ttl_seconds=answer.ttl_seconds
        )
        return answer

    async def run(self) -> None:
        """Keep the stream open until cancelled. Raises `SessionSuperseded`."""
        waits = patience(self.ttl_seconds)
        try:
            while True:
                try:
                    if self._registrar.declared.is_set():
                        await self.register()
                    begun = time.monotonic()
                    async for _ in self._converse():
                        if time.monotonic() > begun + _STEADY_SECONDS:
                            waits = patience(self.ttl_seconds)
                except grpc.aio.AioRpcError as error:
                    await self._lost(error)
                except TimeoutError:
                    _log.warning("gateway.silent", action="gateway.silent")
                except _SessionUnknown:
                    await self.register()
                self._channel.turn()
                await asyncio.sleep(next(waits))
        finally:
            self._orders.close()

    async def _lost(self, error: grpc.aio.AioRpcError) -> None:
        _log.warning(
            "gateway.lost",
            action="gateway.lost",
            address=self._channel.address,
            error=describe(error),
        )
        if says(error, *_UNKNOWN_SESSION):
            await self.register()

    async def _converse(self) -> AsyncIterator[None]:
        """One stream; yields at every message. Ends or raises when it breaks."""
        call = self._channel.stub.Connect(metadata=self._channel.metadata())
        writer: asyncio.Task[None] | None = None
        try:
            await call.write(node_pb2.ConnectRequest(hello=self._registrar.hello()))
            async with asyncio.timeout(_HELLO_SECONDS):
                message = await call.read()
            self._outbox.rewind()
            self._hearing.answered()
            writer = asyncio.create_task(self._write(call))
            while isinstance(message, node_pb2.ConnectResponse):
                await self._take(message)
                yield
                message = await self._next(call, writer)
        finally:
            call.cancel()
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _next(self, call: Stream, writer: "asyncio.Task[None]") -> object:
        """What comes next; None when the stream must end because the node has changed, or because
        nothing can be written on it any more."""
        reading = asyncio.ensure_future(call.read())
        declared = asyncio.ensure_future(self._registrar.declared.wait())
        try:
            await asyncio.wait((reading, declared, writer), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if writer.done() and (error := writer.exception()) is not None:
                _log.warning("link.unwritable", action="link.unwritable", error=repr(error))
            return None
        finally:
            reading.cancel()
            declared.cancel()

    # --- up -------------------------------------------------------------------------------------

    async def _write(self, call: Stream) -> None:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                self._refuse_silence()
                due = time.monotonic() + (self._interval or self._pace.heartbeat_seconds or 5.0)
                await self._beat(call)
            for message in self._outbox.take():
                await call.write(message)
            await _at_most(self._outbox.wait(), due - time.monotonic())

    async def _beat(self, call: Stream) -> None:
        """A gateway that does not answer heartbeats has heard what the stream takes."""
        number = self._outbox.number()
        self._hearing.said(number)
        beat = node_pb2.ConnectRequest(sequence=number, heartbeat=heartbeat_of(self._sample()))
        await call.write(beat)
        if HEARTBEAT_TAKEN not in self._features:
            self._hearing.heard(number)

    def _refuse_silence(self) -> None:
        """Raises `TimeoutError`: this stream leads nowhere, though nothing has said so."""
        if self.silent_seconds > (self.ttl_seconds or math.inf) / 2:
            raise TimeoutError("the gateway answers no heartbeat")

    # --- down -----------------------------------------------------------------------------------

    async def _take(self, message: node_pb2.ConnectResponse) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self.welcomed.set()
                await self._handler.on_welcome(tuple(message.welcome.instance_ids))
            case "stop_order":
                self._orders.obey(message.stop_order)
            case "node_state_changed":
                await self._take_state(message.node_state_changed.state)
            case "answered":
                self._outbox.answered(message.answered)
            case "work":
                self._take_work(message.work)
            case "lease_lost":
                await self._handler.on_lease_lost(message.lease_lost)
            case "heartbeat_taken":
                self._hearing.heard(message.heartbeat_taken.sequence)
            case "pace":
                self._pace = message.pace
            case "superseded":
                self._give_way(message.superseded.newest_session)

    def _give_way(self, newest: int) -> NoReturn:
        """To a newer session; an older one says that the gateway knows nothing of ours."""
        if newest < self._channel.session:
            _log.warning("session.unknown", action="session.unknown", newest=newest)
            raise _SessionUnknown
        raise SessionSuperseded(
            f"another agent has registered as node {self._registrar.node_id}: give one of them "
            "another --node-id, and start this one again",
        )

    def _take_work(self, work: node_pb2.Work) -> None:
        """What cannot be understood is not accepted, and so counts as not delivered."""
        try:
            self._handler.on_work(work)
        except Exception as error:
            _log.error(
                "work.not_understood",
                action="work.not_understood",
                error=repr(error),
                remedy="update this agent to the version of its gateways",
            )

    async def _take_state(self, state: str) -> None:
        await self._handler.on_node_state(state)
        taken = node_pb2.NodeStateTaken(state=state)
        self._outbox.note(node_pb2.ConnectRequest(node_state_taken=taken))


async def _at_most(work: Awaitable[None], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work
