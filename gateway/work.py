"""What agents that speak gRPC report of their work, as signals and completions in Temporal."""

from datetime import timedelta

import structlog
from temporalio.client import AsyncActivityCancelledError, Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model.lease import Outcome, judge
from gamepipe.model.record import AttemptKey
from gamepipe.model.state import StepState
from gamepipe.wire import (
    InstanceEnd,
    RunProgress,
    StepReport,
    StepResult,
    StopAnswer,
    workflow_id,
)

_log = structlog.get_logger()

_WRONG = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE)
RPC_TIMEOUT = timedelta(seconds=5)
WorkResult = StepResult | StopAnswer | InstanceEnd | None


class WorkService:
    """Keeps nothing: the task token is the lease, so that any gateway can take any report."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def report(self, pipeline_id: str, report: StepReport) -> Outcome:
        """Signal news of a running attempt; the workflow passes over what comes too late."""
        handle = self._client.get_workflow_handle(workflow_id(pipeline_id))
        try:
            await handle.signal("report_step", report, rpc_timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            return Outcome.ABORTED if _is_unknown(error) else _later(error)
        return Outcome.OK

    async def complete(
        self, task_token: bytes, result: WorkResult, *, key: AttemptKey | None = None
    ) -> Outcome:
        """End a piece of work. One that Temporal does not wait for any more is judged by what
        became of its attempt; an order's late answer is of no use to anybody."""
        handle = self._client.get_async_activity_handle(task_token=task_token)
        try:
            await handle.complete(result, rpc_timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            if not _is_unknown(error):
                return _later(error)
            ended = result.state if isinstance(result, StepResult) else None
            return Outcome.OK if key is None else await self._judge(key, ended)
        return Outcome.OK

    async def fail(self, task_token: bytes, *, reason: str, message: str) -> Outcome:
        """An order could not be carried out; the workflow's retry policy sends it again."""
        handle = self._client.get_async_activity_handle(task_token=task_token)
        try:
            await handle.fail(ApplicationError(message, type=reason), rpc_timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            return Outcome.OK if _is_unknown(error) else _later(error)
        return Outcome.OK

    async def renew(self, task_token: bytes, key: AttemptKey | None) -> Outcome:
        """Heartbeat of one dispatch. RETRY: it was given up, and a newer one is on its way. An
        order (no key) that was given up is sent again; whoever carries it out need not know."""
        handle = self._client.get_async_activity_handle(task_token=task_token)
        try:
            await handle.heartbeat(rpc_timeout=RPC_TIMEOUT)
        except AsyncActivityCancelledError:
            return Outcome.OK if key is None else await self._judge(key, None)
        except (RPCError, RuntimeError) as error:
            if not _is_unknown(error):
                return _later(error)
            return Outcome.OK if key is None else await self._judge(key, None)
        return Outcome.OK

    async def _judge(self, key: AttemptKey, ended: StepState | None) -> Outcome:
        handle = self._client.get_workflow_handle(workflow_id(key.pipeline_id))
        try:
            progress: RunProgress = await handle.query(
                "progress", result_type=RunProgress, rpc_timeout=RPC_TIMEOUT
            )
        except (RPCError, RuntimeError, WorkflowQueryFailedError) as error:
            return Outcome.ABORTED if _is_unknown(error) else _later(error)
        return judge(key, ended, generation=progress.generation, steps=progress.steps)


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND


def _later(error: Exception) -> Outcome:
    """Temporal does not answer now (RuntimeError: no connection was ever made); but what it calls
    wrong stays so."""
    if isinstance(error, RPCError) and error.status in _WRONG:
        _log.warning("work.refused", action="work.refused", error=str(error))
        return Outcome.ABORTED
    _log.warning("work.deferred", action="work.deferred", error=str(error))
    return Outcome.RETRY
