"""Status that clients report by ids alone: updates of the workflow, which judges them."""

from datetime import timedelta
from typing import Any

from temporalio.client import Client, RPCTimeoutOrCancelledError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from gamepipe.model import errors
from gamepipe.model.record import PipelineRecord, StepRecord
from gamepipe.model.state import PipelineState
from gamepipe.ports import Store
from gamepipe.presentrun import NoRun, Run, ask_run
from gamepipe.wire import CancelOrder, PipelineStatus, StepStatus
from gateway.ending import PipelineEnder

UPDATE_TIMEOUT = timedelta(minutes=2)
"""An end that is reported waits until the step is gone from its node."""
_REFUSALS: dict[str, type[errors.GamePipeError]] = {
    kind.reason: kind for kind in (errors.NotFound, errors.IllegalTransition, errors.LeaseLost)
}


class StatusService:
    """Thin: the workflow holds the rules while it runs, the store when it does not."""

    def __init__(self, store: Store, client: Client, ender: PipelineEnder) -> None:
        self._store = store
        self._client = client
        self._ender = ender

    async def update_step(self, pipeline_id: str, status: StepStatus) -> StepRecord:
        """The step as it stands behind the update.

        Raises:
            NotFound: no such pipeline or step.
            IllegalTransition: the step cannot become that, or the pipeline has ended.
            LeaseLost: it is about another attempt than the current one.
        """
        record = await self._store.pipelines.get(pipeline_id)
        try:
            step: StepRecord = await self._update(record, "step_status", status, StepRecord)
        except errors.NotFound as error:
            if error.metadata.get("kind") == "step":
                raise
            return await self._compare(pipeline_id, status)
        return step

    async def _compare(self, pipeline_id: str, status: StepStatus) -> StepRecord:
        """No workflow runs any more: what is said is what stands, or comes too late."""
        record = await self._store.pipelines.get(pipeline_id)
        for step in record.steps:
            same = (step.generation, step.index, step.attempt, step.state)
            if same == (status.generation, status.step_index, status.attempt, status.state):
                return step
        raise errors.IllegalTransition(
            f"pipeline {pipeline_id!r} is {record.state}: nothing of it runs", id=pipeline_id
        )

    async def update_pipeline(self, pipeline_id: str, status: PipelineStatus) -> PipelineRecord:
        """The present state is accepted; `canceled` and `failed` begin the end of a live one.

        Raises `NotFound`, and `IllegalTransition` for anything else.
        """
        record = await self._store.pipelines.get(pipeline_id)
        if record.state is status.state and record.state.is_terminal:
            return record
        if status.state is PipelineState.CANCELED:
            return await self._ender.cancel(pipeline_id, CancelOrder(reason=status.message))
        try:
            await self._update(record, "pipeline_status", status, PipelineState)
        except errors.NotFound:
            return await self._judge(pipeline_id, status)
        return await self._store.pipelines.get(pipeline_id)

    async def _judge(self, pipeline_id: str, status: PipelineStatus) -> PipelineRecord:
        """Nothing of it runs: the store's state stands, and a live row may still fail."""
        record = await self._store.pipelines.get(pipeline_id)
        if record.state is status.state:
            return record
        if record.state.is_terminal or status.state is not PipelineState.FAILED:
            raise errors.IllegalTransition(
                f"pipeline {pipeline_id!r} is {record.state}: it cannot be {status.state}",
                id=pipeline_id,
            )
        return await self._ender.fail_unstarted(pipeline_id, status.message)

    async def _update(
        self, record: PipelineRecord, update: str, status: object, result_type: type
    ) -> Any:
        """Raises `NotFound` for a workflow when nothing of this very pipeline runs."""

        async def ask(run: Run) -> Any:
            return await run.execute_update(
                update, status, result_type=result_type, rpc_timeout=UPDATE_TIMEOUT
            )

        try:
            return await ask_run(self._client, record, ask)
        except NoRun as error:
            raise errors.NotFound("workflow", record.id) from error
        except WorkflowUpdateFailedError as error:
            raise _refused(error, record.id) from error
        except (RPCError, RPCTimeoutOrCancelledError) as error:
            raise errors.TemporalUnavailable(f"the update was not answered: {error}") from error
        except RuntimeError as error:  # no connection was ever made
            raise errors.TemporalUnavailable(f"Temporal does not answer: {error}") from error


def _refused(error: WorkflowUpdateFailedError, pipeline_id: str) -> Exception:
    """The domain error that the workflow's refusal was made from."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type not in _REFUSALS:
        return error
    kind = _REFUSALS[cause.type]
    if kind is errors.NotFound:
        return errors.NotFound("step", pipeline_id)
    return kind(cause.message, id=pipeline_id)
