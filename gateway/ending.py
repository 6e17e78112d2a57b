"""Bringing pipelines and instances to an end on demand: one path for every client."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from activities.emptying import NodeEmptier
from gamepipe.model.errors import Unavailable
from gamepipe.model.record import Instance, PipelineRecord
from gamepipe.ports import Store
from gamepipe.stopping import RPC_TIMEOUT, Stopper, unavailable
from gamepipe.wire import CancelOrder, RunSettings

END_MARGIN = timedelta(seconds=40)
"""Beyond the grace: an unreachable node is given up after 30 s."""
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

    async def end(self, pipeline_id: str) -> None:
        """Cancel what is live and wait until it is gone, its instances too."""
        record = await self._store.pipelines.get(pipeline_id)
        if not record.state.is_terminal:
            await self.cancel(pipeline_id, CancelOrder(reason="deleted by force"))
            await self._wait(
                lambda: self._is_terminal(pipeline_id), f"pipeline {pipeline_id} is still live"
            )
        live = await self._store.instances.list(pipeline_id=pipeline_id, live_only=True)
        for instance in live:
            await self.stop_instance(instance)
        await self._wait(
            lambda: self._has_no_instance(pipeline_id),
            f"an instance of pipeline {pipeline_id} still runs",
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

    async def _is_terminal(self, pipeline_id: str) -> bool:
        return (await self._store.pipelines.get(pipeline_id)).state.is_terminal

    async def _has_no_instance(self, pipeline_id: str) -> bool:
        return not await self._store.instances.list(pipeline_id=pipeline_id, live_only=True)

    async def _wait(self, probe: Callable[[], Awaitable[bool]], failure: str) -> None:
        wakeup = self._store.wakeup()
        deadline = asyncio.get_running_loop().time() + (self._grace + END_MARGIN).total_seconds()
        while not await probe():
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"{failure}: its node does not answer; try again later")
            await wakeup.wait(timeout_seconds=POLL)
