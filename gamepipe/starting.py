"""Starting the workflow of a stored pipeline; safe to repeat, from gateway and sweep alike."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from gamepipe import searchattribute
from gamepipe.model.record import PipelineRecord
from gamepipe.wire import CONTROL_QUEUE, PipelineStart, RunSettings, workflow_id

START_TIMEOUT = timedelta(seconds=5)
"""Then the pipeline stays `not_started`, and the sweep starts it later."""


async def start_pipeline(client: Client, record: PipelineRecord, settings: RunSettings) -> str:
    """Start `pipeline-<id>`, or find it running already; the run's id.

    A closed workflow of that id belongs to a pipeline that was deleted since: it may be followed
    by a new one. Should its row live after all, the store refuses the second run's first save.

    Raises `temporalio.service.RPCError` when Temporal does not answer in time.
    """
    try:
        handle = await client.start_workflow(
            "GamePipeline",
            PipelineStart(
                pipeline_id=record.id,
                spec=record.spec,
                args=record.args,
                env_names=record.env_names,
                secret_names=record.secret_names,
                definition_revision=record.definition_revision,
                settings=settings,
            ),
            id=workflow_id(record.id),
            task_queue=CONTROL_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=record.name[:200],
            search_attributes=searchattribute.of_start(record.spec),
            rpc_timeout=START_TIMEOUT,
        )
    except WorkflowAlreadyStartedError as error:
        return error.run_id or ""
    return handle.first_execution_run_id or ""
