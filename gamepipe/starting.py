"""Starting the workflow of a stored pipeline; safe to repeat, from gateway and sweep alike."""

from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from gamepipe import searchattribute
from gamepipe.model.record import PipelineRecord
from gamepipe.wire import CONTROL_QUEUE, PipelineStart, RunSettings, workflow_id

INCARNATION = "incarnation"
"""Key of the memo that says which life of its pipeline's id a workflow runs."""

RPC_TIMEOUT = timedelta(seconds=5)
"""Behind a start that takes longer the pipeline stays `not_started`; the sweep starts it later."""


async def start_pipeline(client: Client, record: PipelineRecord, settings: RunSettings) -> str:
    """Start `pipeline-<id>`; the run's id, "" when a workflow of that id runs already.

    That may be this pipeline's own, or the rest of one that was deleted: its incarnation, which is
    in its memo, tells. A closed workflow may be followed by a new one; should the row live after
    all, the store refuses the second run's first save.

    Raises `temporalio.service.RPCError` when Temporal does not answer in time.
    """
    try:
        handle = await client.start_workflow(
            "GamePipeline",
            PipelineStart(
                pipeline_id=record.id,
                incarnation=record.incarnation,
                spec=record.spec,
                args=record.args,
                env_names=record.env_names,
                secret_names=record.secret_names,
                definition_revision=record.definition_revision,
                settings=settings,
                recorded_saves=True,
            ),
            id=workflow_id(record.id),
            task_queue=CONTROL_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={INCARNATION: record.incarnation},
            static_summary=record.name[:200],
            search_attributes=searchattribute.of_start(record.spec),
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return ""
    return handle.first_execution_run_id or ""


async def is_of(record: PipelineRecord, description: WorkflowExecutionDescription) -> bool:
    """Whether the workflow runs this very pipeline, not one of the same id that was deleted."""
    incarnation: str = await description.memo_value(INCARNATION, "")
    return incarnation == record.incarnation
