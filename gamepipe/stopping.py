"""Asking for the end of pipelines and instances; gateway and sweep share it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model import reason as reasons
from gamepipe.model.errors import IllegalTransition, TemporalUnavailable
from gamepipe.model.record import Instance, PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.offer import OfferSender
from gamepipe.ports import Store
from gamepipe.wire import (
    CONTROL_QUEUE,
    CancelOrder,
    InstanceStop,
    StopInstanceOrder,
    workflow_id,
)

RPC_TIMEOUT = timedelta(seconds=5)


class Stopper:
    """Asks and does not wait; safe to repeat."""

    def __init__(self, *, store: Store, client: Client, now: Callable[[], datetime]) -> None:
        self._store = store
        self._client = client
        self._now = now
        self._offers = OfferSender(client)

    async def cancel(self, pipeline_id: str, order: CancelOrder) -> PipelineRecord:
        """The pipeline as it stands behind the request.

        Raises `NotFound`, `IllegalTransition` for one that completed or failed, and
        `TemporalUnavailable`.
        """
        record = await self._store.pipelines.get(pipeline_id)
        if record.state is PipelineState.CANCELED:
            return record
        if record.state.is_terminal:
            raise IllegalTransition(
                f"pipeline {pipeline_id!r} is {record.state} already: there is nothing to cancel",
                pipeline_id=pipeline_id,
                state=record.state.value,
            )
        if not await self._ask(pipeline_id, order):
            return await self._cancel_unstarted(record, order)
        return await self._store.pipelines.get(pipeline_id)

    async def stop_instance(self, instance: Instance, grace: timedelta) -> None:
        """Start its `StopInstance` workflow, or find it running. Raises `TemporalUnavailable`."""
        order = StopInstanceOrder(
            instance_id=instance.id,
            pipeline_id=instance.pipeline_id,
            generation=instance.generation,
            step_index=instance.step_index,
            grace_seconds=grace.total_seconds(),
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
            raise unavailable(error) from error

    async def _ask(self, pipeline_id: str, order: CancelOrder) -> bool:
        """Whether the workflow was there to be asked."""
        handle = self._client.get_workflow_handle(workflow_id(pipeline_id))
        try:
            await handle.signal("cancel_pipeline", order, rpc_timeout=RPC_TIMEOUT)
            await handle.cancel(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise unavailable(error) from error
        except RuntimeError as error:  # no connection was ever made
            raise unavailable(error) from error
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


def unavailable(error: Exception) -> TemporalUnavailable:
    """What to raise when a call of the client failed."""
    return TemporalUnavailable(
        f"the Temporal server does not answer ({error}): start it, and try again"
    )
