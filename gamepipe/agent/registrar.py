"""Registers the node: once at the start, and again whenever its session is of no use any more."""

import asyncio

import grpc
import structlog

from gamepipe.agent.channel import GatewayChannel, describe, says
from gamepipe.agent.patience import patience
from gamepipe.model.errors import GamePipeError
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()

_CALL_SECONDS = 10.0
_FATAL = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


class RegistrationRefused(GamePipeError):
    """The gateway will not have this node; asking again changes nothing."""

    reason = "REGISTRATION_REFUSED"


class Registrar:
    """Knows what the node declares; the session that it is given goes to the channel."""

    def __init__(self, channel: GatewayChannel, registration: node_pb2.RegisterRequest) -> None:
        self._channel = channel
        self._registration = registration
        self.declared = asyncio.Event()
        """The node has changed since it registered."""

    @property
    def node_id(self) -> str:
        return self._registration.node_id

    def declare(self, registration: node_pb2.RegisterRequest) -> None:
        """What the node is from now on."""
        if registration != self._registration:
            self._registration = registration
            self.declared.set()

    async def register(self, ttl_seconds: float) -> node_pb2.RegisterResponse:
        """Register; retried until a gateway answers (the TTL as far as it is known, else 0).
        Raises `RegistrationRefused`."""
        self._channel.registering = True
        try:
            answer = await self._until_answered(ttl_seconds)
        finally:
            self._channel.registering = False
        self._channel.session = answer.session
        _log.info("node.registered", action="node.registered", session=answer.session)
        return answer

    async def _until_answered(self, ttl_seconds: float) -> node_pb2.RegisterResponse:
        self.declared.clear()
        for wait in patience(ttl_seconds):
            try:
                return await self._channel.stub.Register(
                    self._registration, metadata=self._channel.metadata(), timeout=_CALL_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                self._bear(error)
            self._channel.turn()
            await asyncio.sleep(wait)
        raise AssertionError("backoff never ends")

    def _bear(self, error: grpc.aio.AioRpcError) -> None:
        """It did not answer now. Raises `RegistrationRefused` for what will never do."""
        if says(error, *_FATAL):
            raise RegistrationRefused(self._refusal(error)) from None
        _log.warning(
            "gateway.unreachable",
            action="gateway.unreachable",
            address=self._channel.address,
            error=describe(error),
        )

    def _refusal(self, error: grpc.aio.AioRpcError) -> str:
        remedy = "check the node's id and facts"
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            remedy = "give the gateway's token with --token-file"
        return (
            f"the gateway at {self._channel.address} refuses node {self.node_id}: "
            f"{describe(error)}; {remedy}"
        )
