"""What agents that speak gRPC report of their work, as signals and completions in Temporal."""

from dataclasses import dataclass

import structlog
from temporalio.client import (
    AsyncActivityCancelledError,
    Client,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model.lease import Outcome, judge
from gamepipe.model.record import AttemptKey
from gamepipe.model.state import StepState
from gamepipe.reporting import RPC_TIMEOUT, heir_of, report_to_run
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
WorkResult = StepResult | StopAnswer | InstanceEnd | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenWork:
    """A piece of work as a node was given it; the node answers it under its token."""

    kind: str
    """run_step, stop_step, stop_instance or clean_workspace."""
    node_id: str
    run_id: str
    """The workflow run that gave it."""
    key: AttemptKey | None
    """Of a step; None for an order."""
    task_token: bytes
    """Temporal's own."""


class WorkService:
    """Keeps nothing: the task token is the lease, so that any gateway can take any report."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def report(self, work: GivenWork, key: AttemptKey, report: StepReport) -> Outcome:
        """Signal news of a running attempt to the run that gave it, or to the one that goes on with
        it; the workflow passes over what comes too late."""
        name = workflow_id(key.pipeline_id)
        try:
            wanted = await report_to_run(self._client, name, work.run_id, report)
        except (RPCError, RuntimeError) as error:
            return Outcome.ABORTED if _is_unknown(error) else _later(error)
        return Outcome.OK if wanted else Outcome.ABORTED

    async def complete(self, work: GivenWork, result: WorkResult) -> Outcome:
        """End a piece of work. One that Temporal does not wait for any more is judged by what
        became of its attempt; an order's late answer is of no use to anybody."""
        handle = self._client.get_async_activity_handle(task_token=work.task_token)
        try:
            await handle.complete(result, rpc_timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            if not _is_unknown(error):
                return _later(error)
            ended = result.state if isinstance(result, StepResult) else None
            return await self._judge(work, ended)
        return Outcome.OK

    async def fail(self, work: GivenWork, *, reason: str, message: str) -> Outcome:
        """An order could not be carried out; the workflow's retry policy sends it again."""
        handle = self._client.get_async_activity_handle(task_token=work.task_token)
        try:
            await handle.fail(ApplicationError(message, type=reason), rpc_timeout=RPC_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            return Outcome.OK if _is_unknown(error) else _later(error)
        return Outcome.OK

    async def renew(self, work: GivenWork) -> Outcome:
        """Heartbeat of one dispatch. RETRY: it was given up, and a newer one is on its way. An
        order that was given up is sent again; whoever carries it out need not know."""
        handle = self._client.get_async_activity_handle(task_token=work.task_token)
        try:
            await handle.heartbeat(rpc_timeout=RPC_TIMEOUT)
        except AsyncActivityCancelledError:
            return await self._judge(work, None)
        except (RPCError, RuntimeError) as error:
            if not _is_unknown(error):
                return _later(error)
            return await self._judge(work, None)
        return Outcome.OK

    async def _judge(self, work: GivenWork, ended: StepState | None) -> Outcome:
        key = work.key
        if key is None:  # an order
            return Outcome.OK
        try:
            name = workflow_id(key.pipeline_id)
            run_id = await heir_of(self._client, name, work.run_id)
            if run_id is None:
                return Outcome.ABORTED
            handle = self._client.get_workflow_handle(name, run_id=run_id)
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
