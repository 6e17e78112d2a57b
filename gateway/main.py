"""Runs the gateway: REST and gRPC in one process, until it is told to stop."""

import asyncio
import contextlib
import functools
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from typing import NoReturn

import structlog
import uvicorn
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from gamepipe.config import Settings
from gamepipe.connecting import LateClient
from gamepipe.logs import configure_logging
from gamepipe.model.errors import GamePipeError, InvalidRequest
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.setting import read_settings
from gateway.agents import AgentService
from gateway.auth import Access, check_binding
from gateway.awake import AwakeClock
from gateway.clock import utc_now
from gateway.file_limit import raise_file_limit
from gateway.health import GatewayHealth
from gateway.lines import line_writer
from gateway.rest.handler import GamePipelineHandler
from gateway.rpc.beats import BeatWriter
from gateway.rpc.node_service import GameNodeServicer
from gateway.rpc.pipeline_service import GamePipelineServicer
from gateway.rpc.server import GamePipelineServer
from gateway.rpc.token import TokenSeal
from gateway.rpc.toolbox import StreamTools
from gateway.service import GamePipelineService
from store.store import GamePipelineStore

_log = structlog.get_logger()

SECRET_BYTES = 32
GRACEFUL_SECONDS = 1


class GatewayCrashed(Exception):
    """A part of the gateway ended by itself; the log has why."""


class _RestServer(uvicorn.Server):
    """Leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@functools.cache
def temporal_runtime() -> Runtime:
    """Workers say nothing of themselves to Temporal: for that each has a thread that looks at the
    machine all the time, and a gateway has a worker for each of thousands of nodes."""
    return Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=None)


async def serve(settings: Settings, shutdown: asyncio.Event) -> None:
    """Serve until `shutdown`.

    Raises:
        InvalidRequest: an open address without a token, or a port that is taken.
        StoreUnavailable: the database does not answer.
        GatewayCrashed: a part of it ended by itself.
    """
    check_binding(settings)
    listener = _listen(settings)
    store = await GamePipelineStore.open(
        settings.store_url, policy=settings.policy(), order=settings.order()
    )
    # Lazy: the gateway takes pipelines while Temporal is away.
    client = await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        lazy=True,
        runtime=temporal_runtime(),
    )
    try:
        await _serve(settings, shutdown, store, client, listener)
    finally:
        await store.close()


async def _serve(
    settings: Settings,
    shutdown: asyncio.Event,
    store: Store,
    client: Client,
    listener: socket.socket,
) -> None:
    service = GamePipelineService(
        store=store, client=client, settings=settings.run_settings(), now=utc_now
    )
    access = Access.of(settings)
    agents = AgentService(
        store=store,
        client=client,
        connect_temporal=LateClient(
            settings.temporal_address, settings.temporal_namespace, runtime=temporal_runtime()
        ).get,
        notices=NoticeSender(client),
        now=utc_now,
    )
    clock = AwakeClock()
    health = GatewayHealth(store, client, ttl=settings.node_ttl, clock=clock)
    handler = GamePipelineHandler(
        service,
        access=access,
        workflow_base=settings.workflow_base,
        trouble=health.store_trouble,
    )
    tools = StreamTools(
        agents=agents,
        beats=BeatWriter(agents),
        seal=TokenSeal(await store.secret("task tokens", fresh=secrets.token_hex(SECRET_BYTES))),
        health=health,
        clock=clock,
    )
    lines = line_writer(agents)
    servicer = GameNodeServicer(tools, settings=settings, lines=lines, latency=service.latency)
    pipelines = GamePipelineServicer(service, workflow_base=settings.workflow_base)
    rpc = GamePipelineServer(servicer, pipelines, token=access.token)
    rest = _RestServer(
        uvicorn.Config(
            handler.app(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
    )
    grpc_port = await rpc.start(settings.grpc_host, settings.grpc_port)
    background = [
        asyncio.create_task(tools.beats.run(), name="heartbeats"),
        asyncio.create_task(servicer.watch.run(), name="watch of streams"),
        asyncio.create_task(health.run(), name="beat of the gateway"),
        asyncio.create_task(rpc.keep_health(health.store_trouble), name="health of the gateway"),
        asyncio.create_task(clock.run(), name="clock"),
    ]
    serving = asyncio.create_task(rest.serve(sockets=[listener]), name="REST server")
    _log.info(
        "gateway.started",
        action="gateway.started",
        rest=f"http://{settings.rest_host}:{listener.getsockname()[1]}",
        grpc=f"{settings.grpc_host}:{grpc_port}",
    )
    stop = asyncio.create_task(shutdown.wait())
    await asyncio.wait((stop, serving, *background), return_when=asyncio.FIRST_COMPLETED)
    crashed = [task for task in (serving, *background) if task.done()]
    handler.shutdown.set()
    rest.should_exit = True
    await rpc.stop()
    for task in (*background, stop):
        task.cancel()
    await asyncio.gather(*background, serving, stop, return_exceptions=True)
    if crashed:
        _tell_crash(crashed[0])


def _tell_crash(task: "asyncio.Task[None]") -> NoReturn:
    """Nobody told it to stop. Raises `GatewayCrashed`, so that a supervisor starts it anew."""
    _log.error(
        "gateway.crashed",
        action="gateway.crashed",
        task=task.get_name(),
        exc_info=None if task.cancelled() else task.exception(),
    )
    raise GatewayCrashed(task.get_name())


def _listen(settings: Settings) -> socket.socket:
    """Bound before anything else, so that a taken port is a clear error."""
    family = socket.AF_INET6 if ":" in settings.rest_host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.rest_host, settings.rest_port))
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"REST cannot listen on {settings.rest_host}:{settings.rest_port} ({error.strerror}): "
            "set GAMEPIPE_REST_PORT to a free port"
        ) from error
    return listener


async def _main() -> None:
    settings = read_settings(Settings)
    configure_logging(settings.log_level)
    raise_file_limit()
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shutdown.set)
    await serve(settings, shutdown)


def main() -> None:
    """Entry of `python -m gateway`; settings come from the environment."""
    try:
        asyncio.run(_main())
    except GamePipeError as error:
        sys.exit(f"gateway: {error.message}")
    except GatewayCrashed:
        sys.exit(1)
