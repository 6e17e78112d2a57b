"""Builds and runs the control worker: workflows, control activities, the sweep, the schedules."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gamepipe.leaving import leave
from gamepipe.uncollected import uncollected

with uncollected():
    import structlog
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
    from temporalio.client import (
        Client,
        Schedule,
        ScheduleActionStartWorkflow,
        ScheduleAlreadyRunningError,
        ScheduleIntervalSpec,
        ScheduleSpec,
        ScheduleUpdate,
        ScheduleUpdateInput,
    )
    from temporalio.service import RPCError, RPCStatusCode
    from temporalio.worker import Worker

    from activities.control import ControlActivities
    from activities.draining import DrainActivities
    from activities.emptying import NodeEmptier
    from activities.errors import ErrorInterceptor
    from activities.liveness import NodeSweep
    from activities.stopsweep import StopSweep
    from activities.sweep import PipelineSweep
    from gamepipe import searchattribute
    from gamepipe.config import Settings
    from gamepipe.connecting import connect_temporal
    from gamepipe.logs import configure_logging
    from gamepipe.model.errors import GamePipeError
    from gamepipe.notice import NoticeSender
    from gamepipe.ports import Store
    from gamepipe.setting import read_settings
    from gamepipe.stopping import Stopper
    from gamepipe.wire import CONTROL_QUEUE, DRAIN_QUEUE, CleanUp
    from store.store import GamePipelineStore
    from workflows.drain import DrainNode
    from workflows.pipeline import GamePipeline
    from workflows.retention import Retention
    from workflows.stop_instance import StopInstance

_log = structlog.get_logger()

MOST_DRAINS = 10_000
"""At once, on this worker: each waits for a node."""
RETENTION_EVERY = timedelta(hours=1)
SHORTEST_LEASE = timedelta(seconds=3)
"""How long nobody sweeps after the one who did was killed, or three intervals if that is longer."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def build_emptier(client: Client, store: Store, grace: timedelta) -> NodeEmptier:
    stopper = Stopper(store=store, client=client, now=utc_now)
    return NodeEmptier(store=store, stopper=stopper, grace=grace)


@asynccontextmanager
async def build_worker(
    client: Client, store: Store, *, grace: timedelta = timedelta(seconds=10)
) -> AsyncIterator[None]:
    """The Temporal workers of the control side, for as long as the block runs; `grace` is that of
    games on a drained node."""
    emptier = build_emptier(client, store, grace)
    notices = NoticeSender(client)
    drains = DrainActivities(store=store, emptier=emptier, notices=notices, now=utc_now)
    control = ControlActivities(store=store, client=client, notices=notices, now=utc_now)
    waiting = Worker(
        client,
        task_queue=DRAIN_QUEUE,
        activities=[drains.watch_drain],
        interceptors=[ErrorInterceptor()],
        max_concurrent_activities=MOST_DRAINS,
        max_concurrent_activity_task_polls=1,
    )
    control_worker = Worker(
        client,
        task_queue=CONTROL_QUEUE,
        workflows=[GamePipeline, StopInstance, Retention, DrainNode],
        activities=[*control.all(), *drains.all()],
        interceptors=[ErrorInterceptor()],
        max_cached_workflows=2000,
        max_concurrent_workflow_tasks=20,
        max_concurrent_activities=200,
        max_concurrent_local_activities=100,
        graceful_shutdown_timeout=timedelta(seconds=2),
    )
    async with waiting, control_worker:
        yield


class Sweeper:
    """The loop that repairs pipelines, offers and nodes; idle while another worker does."""

    def __init__(self, client: Client, store: Store, settings: Settings) -> None:
        self._store = store
        self._notices = NoticeSender(client)
        self._interval = settings.sweep_interval
        self._lease_ttl = max(3 * self._interval, SHORTEST_LEASE)
        self._holder = client.identity
        self._held_until = 0.0
        """By the monotonic clock: then another worker may sweep."""
        self._pipelines = PipelineSweep(
            store=store,
            client=client,
            notices=self._notices,
            settings=settings.run_settings(),
            now=utc_now,
        )
        self._emptier = build_emptier(client, store, settings.grace)
        self._stops = StopSweep(store=store, client=client, now=utc_now)
        self._nodes = NodeSweep(
            store=store,
            client=client,
            ttl=settings.node_ttl,
            interval=settings.sweep_interval,
            now=utc_now,
        )

    async def run(self, shutdown: asyncio.Event) -> None:
        """Sweep every interval until `shutdown`; a pass that fails is logged and tried again.
        Whoever sweeps: the settings that this worker came with may let somebody run."""
        await self._attempt(self._offer)
        while not shutdown.is_set():
            if await self._attempt(self._hold_lease):
                async with self._holding():
                    await self._sweep()
            await _wait(shutdown, self._interval)
        await self._attempt(self._let_go)

    async def _sweep(self) -> None:
        """One pass; what fails of it is logged, and the rest goes on while nobody else sweeps."""
        sweeps = (self._pipelines, self._nodes, self._emptier, self._stops)
        for part in (*(sweep.run_once for sweep in sweeps), self._settle):
            if time.monotonic() >= self._held_until:
                _log.warning("sweep.lease_lost", action="sweep.lease_lost")
                return
            await self._attempt(part)

    async def _settle(self) -> None:
        """What is known anew of ways that nobody measured may suit who waits."""
        if await self._store.latencies.settle(now=utc_now()):
            await self._offer()

    async def _offer(self) -> None:
        await self._notices.send(await self._store.placements.offer(now=utc_now()))

    async def _hold_lease(self) -> bool:
        asked, ttl = time.monotonic(), self._lease_ttl
        held = await self._store.lease("sweep", self._holder, ttl=ttl, now=utc_now())
        self._held_until = asked + ttl.total_seconds() if held else 0.0
        return held

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """The lease is renewed while a pass takes long: nobody else begins one beside it. No
        renewal outlives the pass: one that was cancelled could still be written, behind the end."""
        over = asyncio.Event()
        renewing = asyncio.create_task(self._renew(over))
        try:
            yield
        finally:
            over.set()
            await renewing

    async def _renew(self, over: asyncio.Event) -> None:
        while True:
            await _wait(over, self._lease_ttl / 3)
            if over.is_set():
                return
            await self._attempt(self._hold_lease)

    async def _let_go(self) -> None:
        """Whoever else runs may sweep at once."""
        await self._store.lease("sweep", self._holder, ttl=timedelta(0), now=utc_now())

    @staticmethod
    async def _attempt(sweep: Callable[[], Awaitable[bool | None]]) -> bool:
        try:
            return bool(await sweep())
        except (RPCError, GamePipeError) as error:
            _log.warning("sweep.failed", action="sweep.failed", error=str(error))
        except Exception as error:  # a bug: the worker, and the next pass, go on
            _log.error("sweep.broken", action="sweep.broken", error=repr(error), exc_info=error)
        return False


async def _wait(event: asyncio.Event, limit: timedelta) -> None:
    try:
        await asyncio.wait_for(event.wait(), limit.total_seconds())
    except TimeoutError:
        return


async def register_search_attributes(client: Client) -> None:
    """Make the namespace know our search attributes; safe to repeat."""
    wanted = {key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in searchattribute.ALL}
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def schedule_retention(client: Client, retention: timedelta) -> None:
    """Create the hourly clean-up, or bring an existing one to the present setting."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "Retention",
            CleanUp(retention_seconds=retention.total_seconds()),
            id="retention",
            task_queue=CONTROL_QUEUE,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=RETENTION_EVERY)]),
    )
    try:
        await client.create_schedule("gamepipe-retention", schedule)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle("gamepipe-retention")
        await handle.update(lambda present: _updated(present, schedule))


def _updated(present: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    """What people did to it, such as a pause, stays."""
    kept = present.description.schedule
    return ScheduleUpdate(schedule=replace(wanted, state=kept.state, policy=kept.policy))


async def run(settings: Settings, shutdown: asyncio.Event) -> None:
    """Run the control worker until `shutdown`."""
    store = await GamePipelineStore.open(
        settings.store_url, policy=settings.policy(), order=settings.order()
    )
    try:
        client = await connect_temporal(settings.temporal_address, settings.temporal_namespace)
        await register_search_attributes(client)
        await schedule_retention(client, settings.retention)
        async with build_worker(client, store, grace=settings.grace), asyncio.TaskGroup() as group:
            group.create_task(Sweeper(client, store, settings).run(shutdown))
            _log.info("worker.started", action="worker.started", task_queue=CONTROL_QUEUE)
            await shutdown.wait()
    finally:
        await store.close()


async def _main() -> None:
    settings = read_settings(Settings)
    configure_logging(settings.log_level)
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shutdown.set)
    await run(settings, shutdown)


def main() -> None:
    """Entry of `python worker.py`; settings come from the environment."""
    try:
        asyncio.run(_main())
    except GamePipeError as error:
        sys.exit(f"worker: {error.message}")


if __name__ == "__main__":
    leave(main)
