"""News of a step goes to the workflow run that asked for it, or to the run that goes on with it.

Never to whatever runs under the pipeline's id by now: that may be another pipeline's.
"""

from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.starting import INCARNATION
from gamepipe.wire import StepReport

RPC_TIMEOUT = timedelta(seconds=5)


async def report_to_run(client: Client, name: str, run_id: str, report: StepReport) -> bool:
    """Signal `report_step`. False: the run has closed or is gone, and nobody goes on with its work.

    Raises `temporalio.service.RPCError` when Temporal does not answer.
    """
    if await _signal(client, name, run_id, report):
        return True
    try:
        heir = await heir_of(client, name, run_id)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return heir is not None and await _signal(client, name, heir, report)


async def heir_of(client: Client, name: str, run_id: str) -> str | None:
    """The newest run of the workflow `name`, if it is of the same incarnation as `run_id`: that
    was reset or continued as new, if it is not the newest itself. None: nobody goes on with it.

    Raises `RPCError`, also for a run that Temporal does not know.
    """
    newest = await client.get_workflow_handle(name).describe(rpc_timeout=RPC_TIMEOUT)
    if newest.run_id == run_id:
        return run_id
    run = client.get_workflow_handle(name, run_id=run_id)
    given = await run.describe(rpc_timeout=RPC_TIMEOUT)
    return newest.run_id if await _incarnation(given) == await _incarnation(newest) else None


async def _signal(client: Client, name: str, run_id: str, report: StepReport) -> bool:
    """False: it has closed."""
    run = client.get_workflow_handle(name, run_id=run_id)
    try:
        await run.signal("report_step", report, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _incarnation(run: WorkflowExecutionDescription) -> str:
    return str(await run.memo_value(INCARNATION, ""))
