"""Pressing "Reset" in Temporal's Web UI."""

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from tests.workflows.conftest import Stack


async def completed_tasks(handle: WorkflowHandle[object, object]) -> list[int]:
    """Ids of the events that a run may be reset to, the first first."""
    history = await handle.fetch_history()
    return [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def reset(stack: Stack, handle: WorkflowHandle[object, object], task: int) -> None:
    """Let a new run go on from a workflow task of the present one."""
    run_id = (await handle.describe()).run_id
    await stack.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=stack.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            reason="pressed in the Web UI",
            workflow_task_finish_event_id=task,
            request_id=f"{run_id}-{task}",
        )
    )


async def reset_to_first_task(stack: Stack, handle: WorkflowHandle[object, object]) -> None:
    first, *_ = await completed_tasks(handle)
    await reset(stack, handle, first)
