"""Registers the node, until a gateway answers or every one of them refuses for good."""

import asyncio
import secrets
from typing import TypeAlias

import grpc
import structlog

from gamepipe.agent.channel import GatewayChannel, describe, says
from gamepipe.agent.registration import ProtocolMismatch, check_protocol
from gamepipe.backoff import backoff
from gamepipe.model.errors import GamePipeError
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()

_CALL_SECONDS = 10.0
_NONCE_BYTES = 16
_LONGEST_WAIT_SECONDS = 3.0
"""Between two tries: a gateway that has just come up is found soon."""
_FATAL = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
_Failure: TypeAlias = grpc.aio.AioRpcError | ProtocolMismatch


class RegistrationRefused(GamePipeError):
    """The gateway will not have this node; asking again changes nothing."""

    reason = "REGISTRATION_REFUSED"


async def register(
    channel: GatewayChannel, registration: node_pb2.RegisterRequest
) -> node_pb2.RegisterResponse:
    """The first answer. Raises `RegistrationRefused`."""
    request = node_pb2.RegisterRequest()
    request.CopyFrom(registration)
    request.nonce = secrets.token_hex(_NONCE_BYTES)  # an answer that is lost costs no session
    unsuited = set[str]()
    for wait in backoff(first=0.1, longest=_LONGEST_WAIT_SECONDS):
        try:
            return await _ask(channel, request)
        except (grpc.aio.AioRpcError, ProtocolMismatch) as error:
            _judge(error, channel, request.node_id, unsuited)
            _log.warning(
                "gateway.unreachable",
                action="gateway.unreachable",
                address=channel.address,
                error=_said(error),
            )
        channel.turn()
        await asyncio.sleep(wait)
    raise AssertionError("backoff never ends")


async def _ask(
    channel: GatewayChannel, request: node_pb2.RegisterRequest
) -> node_pb2.RegisterResponse:
    answer = await channel.stub.Register(
        request, metadata=channel.metadata(), timeout=_CALL_SECONDS
    )
    check_protocol(answer)
    _log.info("node.registered", action="node.registered", session=answer.session)
    return answer


def _judge(error: _Failure, channel: GatewayChannel, node_id: str, unsuited: set[str]) -> None:
    """Raises `RegistrationRefused` for what no repetition changes. Gateways are updated one by
    one: another protocol is the end only when each of them speaks it."""
    remedy = ""
    if isinstance(error, grpc.aio.AioRpcError) and says(error, *_FATAL):
        remedy = "check the node's id and facts"
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            remedy = "give the gateway's token with --token-file"
    elif isinstance(error, ProtocolMismatch) or says(error, grpc.StatusCode.FAILED_PRECONDITION):
        unsuited.add(channel.address)
        if unsuited >= channel.addresses:
            remedy = "install an agent and gateways that fit each other"
    if remedy:
        raise RegistrationRefused(
            f"the gateway at {channel.address} refuses node {node_id}: {_said(error)}; {remedy}"
        ) from None


def _said(error: _Failure) -> str:
    return error.message if isinstance(error, ProtocolMismatch) else describe(error)
