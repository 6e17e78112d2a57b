"""Serves the node's task queue: a Temporal worker, built again when it breaks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from gamepipe.backoff import backoff
from gamepipe.wire import node_identity, node_queue

_log = structlog.get_logger()

ACTIVITY_SLOTS = 5000
"""Far above `max_steps`: the runner limits steps, so that `stop_step` never waits for a slot."""
POLLERS = 5
"""Long polls that a worker keeps open: each costs the server and the process some memory."""
GRACE = timedelta(seconds=1)
SHUTDOWN_SECONDS = 1.5
"""With Temporal away a worker may not end; what runs goes on without it."""


_leaving: set[asyncio.Future[Any]] = set()
"""Workers that are being shut down, whoever waits for them."""


def _leave(worker: Worker, work: "asyncio.Task[None]") -> "asyncio.Future[Any]":
    """Shut a worker down. Its task is not cancelled: one that was on its way up would hold its
    queue for good, and no other worker of this process could serve it."""
    leaving = asyncio.gather(worker.shutdown(), work, return_exceptions=True)
    _leaving.add(leaving)
    leaving.add_done_callback(_leaving.discard)
    return leaving


class QueueServer:
    """Runs the node's activities until cancelled."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        node_id: str,
        activities: Sequence[Callable[..., Any]],
        *,
        pollers: int = POLLERS,
    ) -> None:
        self._connect = connect
        self._pollers = pollers
        self._node_id = node_id
        self._activities = activities
        self.started = asyncio.Event()

    async def run(self) -> None:
        for wait in backoff():
            try:
                await self._serve()
            except Exception as error:
                _log.warning("worker.broke", action="worker.broke", error=repr(error))
            await asyncio.sleep(wait)

    async def _serve(self) -> None:
        worker = self._worker(await self._connect())
        work = asyncio.create_task(worker.run())
        self.started.set()
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait((_leave(worker, work),), timeout=SHUTDOWN_SECONDS)
            raise

    def _worker(self, client: Client) -> Worker:
        return Worker(
            client,
            task_queue=node_queue(self._node_id),
            identity=node_identity(self._node_id),
            activities=self._activities,
            max_concurrent_activities=ACTIVITY_SLOTS,
            max_concurrent_activity_task_polls=self._pollers,
            graceful_shutdown_timeout=GRACE,
        )
