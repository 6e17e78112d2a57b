"""Bringing pipelines and instances to an end on demand: one path for every client."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model import reason as reasons
from gamepipe.model.errors import IllegalTransition, TemporalUnavailable, Unavailable
from gamepipe.model.record import Instance, PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.offer import OfferSender
from gamepipe.ports import Store
from gamepipe.wire import (
    CONTROL_QUEUE,
    CancelOrder,
    InstanceStop,
    RunSettings,
    StopInstanceOrder,
    workflow_id,
)

RPC_TIMEOUT = timedelta(seconds=5)
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
        self._now = now
        self._offers = OfferSender(client)

    async def cancel(self, pipeline_id: str, order: CancelOrder) -> PipelineRecord:
        """See `GamePipelineService.cancel`."""
        record = await self._store.pipelines.get(pipeline_id)
        if record.state is PipelineState.CANCELED:
            return record
        if record.state.is_terminal:
            raise IllegalTransition(
                f"pipeline {pipeline_id!r} is {record.state} already: there is nothing to cancel",
                pipeline_id=pipeline_id,
                state=record.state.value,
            )
        if not await self._ask(self._client.get_workflow_handle(workflow_id(pipeline_id)), order):
            return await self._cancel_unstarted(record, order)
        return await self._store.pipelines.get(pipeline_id)

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
        order = StopInstanceOrder(
            instance_id=instance.id,
            pipeline_id=instance.pipeline_id,
            generation=instance.generation,
            step_index=instance.step_index,
            grace_seconds=(self._grace if grace is None else grace).total_seconds(),
        )
        try:
            await self._client.start_workflow(
                "StopInstance",
                InstanceStop(node_id=instance.node_id, order=order),
                id=f"stop-instance-{instance.id}",
                task_queue=CONTROL_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=RPC_TIMEOUT,
            )
        except (RPCError, RuntimeError) as error:
            raise _unavailable(error) from error

    async def check_temporal(self) -> None:
        """Raises `TemporalUnavailable`."""
        try:
            healthy = await self._client.service_client.check_health(timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            raise _unavailable(error) from error
        if not healthy:
            raise _unavailable(RuntimeError("not serving"))

    async def _ask(self, handle: WorkflowHandle[object, object], order: CancelOrder) -> bool:
        """Whether the workflow was there to be asked."""
        try:
            await handle.signal("cancel_pipeline", order, rpc_timeout=RPC_TIMEOUT)
            await handle.cancel(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise _unavailable(error) from error
        except RuntimeError as error:  # no connection was ever made
            raise _unavailable(error) from error
        return True

    async def _cancel_unstarted(self, record: PipelineRecord, order: CancelOrder) -> PipelineRecord:
        """No workflow runs: it never started, or ended without a word. The store decides."""
        current, offers = await self._store.pipelines.update_status(
            record.id,
            PipelineState.CANCELED,
            reason=reasons.CANCELED,
            message=order.reason or "canceled on request",
            now=self._now(),
        )
        await self._offers.send(offers)
        return current

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


def _unavailable(error: Exception) -> TemporalUnavailable:
    return TemporalUnavailable(
        f"the Temporal server does not answer ({error}): start it, and try again"
    )
