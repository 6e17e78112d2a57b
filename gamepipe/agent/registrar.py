"""Registers the node: once at the start, and again whenever its session is of no use any more."""

import asyncio
import secrets
from typing import TypeAlias

import grpc
import structlog

from gamepipe.agent.channel import GatewayChannel, describe, says
from gamepipe.agent.patience import patience
from gamepipe.agent.registration import ProtocolMismatch, check_protocol
from gamepipe.model.errors import GamePipeError
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()

_CALL_SECONDS = 10.0
_NONCE_BYTES = 16
_FATAL = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
_Failure: TypeAlias = grpc.aio.AioRpcError | ProtocolMismatch


class RegistrationRefused(GamePipeError):
    """The gateway will not have this node; asking again changes nothing."""

    reason = "REGISTRATION_REFUSED"


class Registrar:
    """Knows what the node declares; the session that it is given goes to the channel."""

    def __init__(self, channel: GatewayChannel, registration: node_pb2.RegisterRequest) -> None:
        self._channel = channel
        self._registration = registration
        self._answer = node_pb2.RegisterResponse()
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

    def hello(self) -> node_pb2.Hello:
        """What a stream begins with, by the last answer."""
        return node_pb2.Hello(
            node_id=self.node_id,
            session=self._answer.session,
            session_key=self._answer.session_key,
            features=self._answer.features,
        )

    async def register(self, ttl_seconds: float) -> node_pb2.RegisterResponse:
        """Register; retried until a gateway answers (the TTL as far as it is known, else 0).
        Raises `RegistrationRefused`."""
        self._channel.registering = True
        self.declared.clear()
        try:
            answer = self._answer = await self._until_answered(ttl_seconds)
        finally:
            self._channel.registering = False
        self._channel.session, self._channel.session_key = answer.session, answer.session_key
        _log.info("node.registered", action="node.registered", session=answer.session)
        return answer

    async def _until_answered(self, ttl_seconds: float) -> node_pb2.RegisterResponse:
        request = node_pb2.RegisterRequest()
        request.CopyFrom(self._registration)
        request.nonce = secrets.token_hex(_NONCE_BYTES)  # an answer that is lost costs no session
        unsuited = set[str]()
        for wait in patience(ttl_seconds):
            try:
                return await self._ask(request)
            except (grpc.aio.AioRpcError, ProtocolMismatch) as error:
                self._bear(error, unsuited)
            self._channel.turn()
            await asyncio.sleep(wait)
        raise AssertionError("backoff never ends")

    async def _ask(self, request: node_pb2.RegisterRequest) -> node_pb2.RegisterResponse:
        answer = await self._channel.stub.Register(
            request, metadata=self._channel.metadata(), timeout=_CALL_SECONDS
        )
        check_protocol(answer)
        return answer

    def _bear(self, error: _Failure, unsuited: set[str]) -> None:
        """It did not answer now. Raises `RegistrationRefused` for what will never do."""
        if remedy := self._remedy(error, unsuited):
            raise RegistrationRefused(
                f"the gateway at {self._channel.address} refuses node {self.node_id}: "
                f"{_said(error)}; {remedy}"
            ) from None
        _log.warning(
            "gateway.unreachable",
            action="gateway.unreachable",
            address=self._channel.address,
            error=_said(error),
        )

    def _remedy(self, error: _Failure, unsuited: set[str]) -> str:
        """Of what no repetition changes. Gateways are updated one by one: another protocol is the
        end only when each of them (`unsuited`) speaks it."""
        if isinstance(error, grpc.aio.AioRpcError) and says(error, *_FATAL):
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return "check the node's id and facts"
            return "give the gateway's token with --token-file"
        if isinstance(error, ProtocolMismatch) or says(error, grpc.StatusCode.FAILED_PRECONDITION):
            unsuited.add(self._channel.address)
            if unsuited >= self._channel.addresses:
                return "install an agent and gateways that fit each other"
        return ""


def _said(error: _Failure) -> str:
    return error.message if isinstance(error, ProtocolMismatch) else describe(error)
