"""The workflow run that a pipeline has now, which its id alone does not tell.

While the workflow of a deleted pipeline still closes, its id may be another pipeline's already; and
a run that continues as new hands over to the next one in any moment.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model.record import PipelineRecord
from gamepipe.starting import RPC_TIMEOUT, is_of
from gamepipe.wire import workflow_id

T = TypeVar("T")
Run = WorkflowHandle[Any, Any]


class NoRun(Exception):
    """Nothing of the pipeline runs: it has not begun, or has ended."""


async def ask_run(client: Client, record: PipelineRecord, ask: Callable[[Run], Awaitable[T]]) -> T:
    """What the run of this very pipeline answers. One that closes meanwhile is followed by the run
    that goes on with its work, if there is one.

    Raises `NoRun`, and `temporalio.service.RPCError` when Temporal does not answer.
    """
    asked: set[str | None] = set()
    while True:
        run = await _present_run(client, record)
        if run is None or run.run_id in asked:
            raise NoRun(record.id)
        asked.add(run.run_id)
        try:
            return await ask(run)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def _present_run(client: Client, record: PipelineRecord) -> Run | None:
    """A handle of that run and no other."""
    name = workflow_id(record.id)
    try:
        description = await client.get_workflow_handle(name).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    running = description.status is WorkflowExecutionStatus.RUNNING
    if not running or not await is_of(record, description):
        return None
    return client.get_workflow_handle(name, run_id=description.run_id)
