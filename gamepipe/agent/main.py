"""The agent: registers its node, serves its task queue, ships logs, until it is told to stop."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import structlog
from temporalio.client import Client

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.cutoff import CutOffWatch
from gamepipe.agent.data_dir import hold
from gamepipe.agent.engine import NodeEngine
from gamepipe.agent.facts import MetricsSampler
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.journal import AttemptJournal
from gamepipe.agent.lease import LeaseFolder
from gamepipe.agent.link import GatewayLink
from gamepipe.agent.orders import NodeOrders
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.plan import RunnerSettings, RunnerTools
from gamepipe.agent.prober import RoundTripProber
from gamepipe.agent.process_runtime import ProcessRuntime
from gamepipe.agent.registration import REPORT_METRICS, registration
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.runtime import Runtime
from gamepipe.agent.settings import AgentSettings
from gamepipe.agent.shipper import LogShipper
from gamepipe.agent.slot import StepSlots
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.stream_server import StreamServer
from gamepipe.agent.survey import NodeSurvey
from gamepipe.agent.together import run_together, run_until
from gamepipe.connecting import connect_temporal, connected
from gamepipe.model.errors import GamePipeError, TemporalUnavailable, Unavailable
from gamepipe.model.node import NodeFacts
from gamepipe.model.spec import StepType
from gamepipe.queueserver import QueueServer
from gamepipe.v1 import node_pb2
from gamepipe.wire import InstanceEnd, StopInstanceOrder, node_identity

_log = structlog.get_logger()

TIDY_SECONDS = 6 * 3600.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class GamePipelineAgent:
    """One node's agent. `run` may be called once."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._folders = AgentFolders(settings.data_dir.resolve())
        self._spools = SpoolFolder(self._folders.spool)
        self._channel = GatewayChannel(settings.gateways, settings.token)
        self._outbox = Outbox()
        self._values = GatewayValues(self._channel, settings.node_id)
        self._engine = self._make_engine() if settings.docker_url else None
        self._survey = NodeSurvey(settings, self._folders, self._engine)
        self._temporal: Client | None = None
        self.ready = asyncio.Event()
        """Set once the node is registered and its queue is served."""

    async def run(self) -> None:
        """Work until cancelled; running steps go on and are adopted by the next agent.

        Raises `GamePipeError`: refused by the gateway, superseded, data directory in use or of
        another node.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(hold(self._folders.root, self._settings.node_id))
            stack.push_async_callback(self._channel.close)
            if self._engine is not None:
                stack.push_async_callback(self._engine.close)
            await self._work(await self._survey.facts())

    async def _work(self, facts: NodeFacts) -> None:
        runner = self._runner(facts)
        stream = self._stream(runner)
        sampler = MetricsSampler(self._folders.root, lambda: runner.running_steps)
        orders = NodeOrders(
            runner,
            watcher=self._engine.watcher if self._engine else None,
            may_run=self._engine.may_run if self._engine else lambda _: False,
            observe=self._outbox.observe,
            grace_seconds=self._settings.stop_grace,
            server=stream,
        )
        link = GatewayLink(
            self._channel,
            registration(self._settings, facts),
            sample=sampler.sample,
            outbox=self._outbox,
            handler=orders,
            heartbeat_interval=self._settings.heartbeat_interval,
        )
        watch = CutOffWatch(
            ttl_seconds=lambda: self._settings.node_ttl or link.ttl_seconds or 30.0,
            silent_seconds=lambda: link.silent_seconds,
            client=lambda: self._temporal,
            stop_steps=runner.stop_cut_off,
        )
        try:
            # From the beginning: an agent that comes up cut off still holds what runs elsewhere.
            await run_together(watch.run(), self._take_part(runner, link, stream))
        finally:
            orders.close()
            await runner.close()
            await stream.close()

    async def _take_part(self, runner: StepRunner, link: GatewayLink, stream: StreamServer) -> None:
        """Register, then serve."""
        answer = await link.register()
        await runner.recover()
        if self._settings.transport == "grpc":
            await self._serve(runner, link, stream.run())
            return
        self._temporal = await self._connect(answer)
        await self._serve_queue(runner, link, self._temporal)

    async def _serve_queue(self, runner: StepRunner, link: GatewayLink, client: Client) -> None:
        """Take steps as a Temporal worker."""
        from activities.node import NodeActivities  # noqa: PLC0415 - a sibling, not a part

        activities = NodeActivities(runner, client).all()
        server = QueueServer(connected(client), self._settings.node_id, activities)
        await self._serve(runner, link, server.run(), started=server.started)

    async def _serve(
        self,
        runner: StepRunner,
        link: GatewayLink,
        server: Coroutine[Any, Any, None],
        *,
        started: asyncio.Event | None = None,
    ) -> None:
        shipper = LogShipper(self._channel, self._settings.node_id, self._spools)
        work = [server, link.run(), shipper.run()]
        work += [self._announce(link, started), _tidy(runner)]
        work.append(
            self._survey.watch(lambda facts: link.declare(registration(self._settings, facts)))
        )
        work.append(self._prober(link).run())
        if self._engine is not None:
            work.append(self._engine.watch())
        await run_together(*work)

    def _prober(self, link: GatewayLink) -> RoundTripProber:
        return RoundTripProber(
            self._channel,
            self._settings.node_id,
            self._settings.probes,
            interval_seconds=self._settings.probe_interval,
            wanted=lambda: link.has(REPORT_METRICS),
        )

    async def _announce(self, link: GatewayLink, started: asyncio.Event | None) -> None:
        await link.welcomed.wait()
        if started is not None:
            await started.wait()
        _log.info("agent.ready", action="agent.ready", node_id=self._settings.node_id)
        self.ready.set()
        await asyncio.Event().wait()

    def _stream(self, runner: StepRunner) -> StreamServer:
        leases = LeaseFolder(self._folders.leases)
        return StreamServer(runner, self._outbox, leases, self._values)

    def _make_engine(self) -> NodeEngine:
        return NodeEngine(
            self._settings,
            self._folders,
            observe=self._outbox.observe,
            values=self._values,
            clock=utc_now,
        )

    def _runner(self, facts: NodeFacts) -> StepRunner:
        settings = self._settings
        tools = RunnerTools(
            settings=RunnerSettings(
                node_id=settings.node_id,
                allow_commands=settings.allow_commands,
                max_steps=settings.max_steps,
                gpu_uuids={gpu.index: gpu.uuid for gpu in facts.gpus},
            ),
            folders=self._folders,
            runtimes=self._runtimes(),
            values=self._values,
            spools=self._spools,
            slots=StepSlots(settings.max_steps),
            clock=utc_now,
        )
        journal = AttemptJournal(self._folders.journal)
        return StepRunner(tools, journal, stop_instance=self._stop_instance)

    def _runtimes(self) -> dict[StepType, Runtime]:
        runtimes: dict[StepType, Runtime] = {
            StepType.COMMAND: ProcessRuntime(self._folders, clock=utc_now)
        }
        if self._engine is not None:
            runtimes[StepType.CONTAINER] = runtimes[StepType.SERVICE] = self._engine.runtime
        return runtimes

    async def _stop_instance(self, order: StopInstanceOrder) -> InstanceEnd:
        if self._engine is not None:
            return await self._engine.watcher.stop(order)
        raise Unavailable(
            f"node {self._settings.node_id} cannot stop {order.instance_id}: its agent was started "
            "without a Docker engine (--docker-url)"
        )

    async def _connect(self, answer: node_pb2.RegisterResponse) -> Client:
        """To Temporal, however long it takes to answer."""
        address = self._settings.temporal_address or answer.temporal_address
        namespace = self._settings.temporal_namespace or answer.temporal_namespace or "default"
        while True:
            try:
                return await connect_temporal(
                    address, namespace, identity=node_identity(self._settings.node_id)
                )
            except TemporalUnavailable as error:
                _log.error("temporal.absent", action="temporal.absent", error=error.message)


async def _tidy(runner: StepRunner) -> None:
    """Forget old ends from time to time."""
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        await runner.recover()


async def run_agent(
    settings: AgentSettings,
    *,
    ready: asyncio.Event | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run an agent until `stop` (without one: until SIGTERM or SIGINT); its exit status."""
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        agent = GamePipelineAgent(settings)
        if ready is not None:
            agent.ready = ready
        await run_until(stop, agent.run())
    except GamePipeError as error:
        _log.error("agent.failed", action="agent.failed", reason=error.reason, error=error.message)
        return 1
    return 0
