"""`GamePipelineServer`: the gRPC server with health, reflection and the bearer token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gamepipe.limit import MESSAGE_OPTIONS
from gamepipe.model.errors import GamePipeError, InvalidRequest, Unauthenticated, Unavailable
from gamepipe.v1 import node_pb2, node_pb2_grpc, pipeline_pb2, pipeline_pb2_grpc
from gateway.auth import TokenSource, check_token
from gateway.rpc.failure import abort
from gateway.rpc.node_service import GameNodeServicer
from gateway.rpc.pipeline_service import GamePipelineServicer

SERVICES = (
    node_pb2.DESCRIPTOR.services_by_name["GameNodeService"].full_name,
    pipeline_pb2.DESCRIPTOR.services_by_name["GamePipelineGRPCService"].full_name,
)
OPEN_METHODS = "/grpc.health.v1.Health/"
STOP_SECONDS = 1.0
HEALTH_SECONDS = 0.5
OPTIONS = [
    *MESSAGE_OPTIONS,
    # Below the idle timeout of common NAT boxes; agents may ping as often.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
]


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the token, except health checks."""

    def __init__(self, token: TokenSource) -> None:
        self._token = token

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(OPEN_METHODS):
            return handler
        header = dict(handler_call_details.invocation_metadata).get("authorization")
        try:
            check_token(str(header) if header else None, self._token())
        except (Unauthenticated, Unavailable) as error:
            return _refusing(handler, error)
        return handler


def _refusing(handler: Any, error: GamePipeError) -> Any:
    """A handler of the same kind that refuses every call."""

    async def unary(_: Any, context: Any) -> Any:
        await abort(context, error)

    async def stream(_: Any, context: Any) -> Any:
        await abort(context, error)
        yield

    make, behaviour = {
        (False, False): (grpc.unary_unary_rpc_method_handler, unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, stream),
    }[(bool(handler.request_streaming), bool(handler.response_streaming))]
    return make(behaviour, handler.request_deserializer, handler.response_serializer)


class GamePipelineServer:
    """Listens once started; the port is known then."""

    def __init__(
        self, nodes: GameNodeServicer, pipelines: GamePipelineServicer, *, token: TokenSource
    ) -> None:
        self._nodes = nodes
        self._serving: bool | None = None
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(interceptors=[TokenInterceptor(token)], options=OPTIONS)
        node_pb2_grpc.add_GameNodeServiceServicer_to_server(nodes, self._server)
        pipeline_pb2_grpc.add_GamePipelineGRPCServiceServicer_to_server(pipelines, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """The port that it listens on. Raises `InvalidRequest` when it cannot."""
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise InvalidRequest(
                f"gRPC cannot listen on {host}:{port}: another process has it; set "
                "GAMEPIPE_GRPC_PORT to a free one"
            ) from error
        await self._server.start()
        await self._tell_health(serving=True)
        return int(bound)

    async def keep_health(self, trouble: Callable[[], str]) -> None:
        """Let the health service say whether this gateway can do anything, until cancelled."""
        while True:
            await self._tell_health(serving=not trouble())
            await asyncio.sleep(HEALTH_SECONDS)

    async def _tell_health(self, *, serving: bool) -> None:
        if serving == self._serving:
            return
        self._serving = serving
        states = health_pb2.HealthCheckResponse
        for name in ("", *SERVICES):
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    async def stop(self) -> None:
        await self._health.enter_graceful_shutdown()
        self._nodes.close_streams()
        await self._server.stop(STOP_SECONDS)
