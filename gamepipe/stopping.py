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
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.presentrun import NoRun, Run, ask_run
from gamepipe.starting import RPC_TIMEOUT
from gamepipe.wire import (
    CONTROL_QUEUE,
    CancelOrder,
    InstanceStop,
    StopInstanceOrder,
)


class Stopper:
    """Asks and does not wait; safe to repeat."""

    def __init__(self, *, store: Store, client: Client, now: Callable[[], datetime]) -> None:
        self._store = store
        self._client = client
        self._now = now
        self._notices = NoticeSender(client)

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
        try:
            await ask_run(self._client, record, lambda run: _order_end(run, order))
        except NoRun:
            message = order.reason or "canceled on request"
            return await self.end_unstarted(
                record.id, PipelineState.CANCELED, reasons.CANCELED, message
            )
        except (RPCError, RuntimeError) as error:  # RuntimeError: no connection was ever made
            raise unavailable(error) from error
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

    async def end_unstarted(
        self, pipeline_id: str, state: PipelineState, reason: str, message: str
    ) -> PipelineRecord:
        """Nothing of it runs: its workflow waits for that of a deleted pipeline, never started, or
        ended without a word. The store decides; a run that starts now finds its row ended."""
        current, notices = await self._store.pipelines.update_status(
            pipeline_id, state, reason=reason, message=message, now=self._now()
        )
        await self._notices.send(notices)
        return current


async def _order_end(run: Run, order: CancelOrder) -> None:
    await run.signal("cancel_pipeline", order, rpc_timeout=RPC_TIMEOUT)
    try:
        await run.cancel(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # the signal has ended it already
            raise


def unavailable(error: Exception) -> TemporalUnavailable:
    """What to raise when a call of the client failed."""
    return TemporalUnavailable(
        f"the Temporal server does not answer ({error}): start it, and try again"
    )
