"""Ends of an attempt that the workflow itself pronounces, for the node did not tell one."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult

from workflows.context import HaltKind, RunContext


def failed(reason: str, message: str, *, retryable: bool = True) -> StepResult:
    return StepResult(
        state=StepState.FAILED,
        started_at=None,
        ended_at=workflow.now(),
        reason=reason,
        message=message,
        retryable=retryable,
    )


def not_delivered(node_id: str, dispatches: int) -> StepResult:
    message = f"node {node_id} did not take the step in {dispatches} dispatches"
    return failed(reasons.NOT_DELIVERED, message)


def stopped(context: RunContext, node_id: str, message: str) -> StepResult:
    """The end of an attempt that what stopped the pipeline stopped too."""
    halt = context.halt
    if halt is not None and halt.kind is HaltKind.TIMEOUT:
        return failed(reasons.PIPELINE_TIMEOUT, halt.message, retryable=False)
    if context.unreachable:
        message = f"node {node_id} did not confirm that the step stopped"
    return failed(reasons.CANCELED, message, retryable=False)
