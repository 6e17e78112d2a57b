"""Bringing pipelines and instances to an end on demand: one path for every client."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from activities.emptying import NodeEmptier
from gamepipe.model import reason as reasons
from gamepipe.model.errors import NotFound, Unavailable
from gamepipe.model.record import Instance, PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.ports import Store
from gamepipe.starting import RPC_TIMEOUT
from gamepipe.stopping import Stopper, unavailable
from gamepipe.wire import CancelOrder, RunSettings
from workflows.policy import ALWAYS_STEP_IN_CANCEL

END_MARGIN = timedelta(seconds=40)
"""Beyond what steps may take: an unreachable node is given up after 30 s."""
LONGEST_WAIT = timedelta(seconds=110)
"""Of a client: ours and most proxies give up soon after. What it waits for goes on without it."""
POLL = 0.5


class PipelineEnder:
    """Cancels, waits, stops instances."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        settings: RunSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._client = client
        self._grace = timedelta(seconds=settings.grace_seconds)
        self._stopper = Stopper(store=store, client=client, now=now)
        self.emptier = NodeEmptier(store=store, stopper=self._stopper, grace=self._grace)

    async def cancel(self, pipeline_id: str, order: CancelOrder) -> PipelineRecord:
        """See `GamePipelineService.cancel`."""
        return await self._stopper.cancel(pipeline_id, order)

    async def fail_unstarted(self, pipeline_id: str, message: str) -> PipelineRecord:
        """A client reported a pipeline as failed of which nothing runs."""
        return await self._stopper.end_unstarted(
            pipeline_id,
            PipelineState.FAILED,
            reasons.REPORTED_FAILED,
            message or "reported as failed",
        )

    async def end(self, record: PipelineRecord) -> None:
        """Cancel what is live and wait until it is gone, its instances too.

        Raises `NotFound` when it was deleted meanwhile, though its id may be another's by now, and
        `Unavailable` when that takes longer than it should: it goes on all the same.
        """
        pipeline_id = record.id
        if not record.state.is_terminal:
            await self.cancel(pipeline_id, CancelOrder(reason="deleted by force"))
            await self._wait(lambda: self._is_terminal(record), pipeline_id, self._needs(record))
        live = await self._store.instances.list(pipeline_id=pipeline_id, live_only=True)
        for instance in live:
            await self.stop_instance(instance)
        await self._wait(
            lambda: self._has_no_instance(pipeline_id), pipeline_id, self._grace + END_MARGIN
        )

    async def stop_instance(self, instance: Instance, grace: timedelta | None = None) -> None:
        """Start its `StopInstance` workflow, or find it running."""
        await self._stopper.stop_instance(instance, self._grace if grace is None else grace)

    async def check_temporal(self) -> None:
        """Raises `TemporalUnavailable`."""
        try:
            healthy = await self._client.service_client.check_health(timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            raise unavailable(error) from error
        if not healthy:
            raise unavailable(RuntimeError("not serving"))

    async def _is_terminal(self, record: PipelineRecord) -> bool:
        current = await self._store.pipelines.get(record.id)
        if current.incarnation != record.incarnation:
            raise NotFound("pipeline", record.id)
        return current.state.is_terminal

    async def _has_no_instance(self, pipeline_id: str) -> bool:
        return not await self._store.instances.list(pipeline_id=pipeline_id, live_only=True)

    def _needs(self, record: PipelineRecord) -> timedelta:
        """How long a cancel of it may take, by its own grace and its `always` steps."""
        grace = record.spec.timeouts.grace_seconds
        needed = (self._grace if grace is None else timedelta(seconds=grace)) + END_MARGIN
        for step in record.spec.steps:
            if step.always:
                seconds = step.timeout_seconds or record.spec.timeouts.step_seconds
                needed += ALWAYS_STEP_IN_CANCEL if seconds is None else timedelta(seconds=seconds)
        return needed

    async def _wait(
        self, probe: Callable[[], Awaitable[bool]], pipeline_id: str, limit: timedelta
    ) -> None:
        wakeup, seconds = self._store.wakeup(), min(limit, LONGEST_WAIT).total_seconds()
        deadline = asyncio.get_running_loop().time() + seconds
        while not await probe():
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"pipeline {pipeline_id!r} was asked to end, and goes on ending after "
                    f"{seconds:.0f} s: it is not deleted yet, ask for that again later",
                    pipeline_id=pipeline_id,
                )
            await wakeup.wait(timeout_seconds=POLL)
