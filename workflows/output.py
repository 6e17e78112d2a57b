"""Outputs of steps: bounded in all, because every history of a pipeline carries them."""

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult

from workflows import policy
from workflows.carrying import bytes_of, size_of
from workflows.context import RunContext


def bounded(result: StepResult, context: RunContext, index: int) -> StepResult:
    """The result, or the failure of a step whose outputs are too many beside those of others."""
    if not result.outputs:
        return result
    others = (step for step in context.book.steps if step.index != index)
    total = context.dropped_output_bytes + size_of(others) + bytes_of(result.outputs)
    if total <= policy.OUTPUT_BYTES or not workflow.patched("outputs-are-bounded"):
        return result
    if result.state is not StepState.COMPLETED:
        return replace(result, outputs={})
    message = (
        f"the outputs of the pipeline would take {total} bytes, its limit is "
        f"{policy.OUTPUT_BYTES}: write large values to a file in the workspace, and its path as "
        "the output"
    )
    return replace(
        result,
        state=StepState.FAILED,
        reason=reasons.OUTPUT_TOO_LARGE,
        message=message,
        outputs={},
        retryable=False,
    )
