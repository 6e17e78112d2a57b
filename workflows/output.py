"""Outputs of steps: bounded in all, because every history of a pipeline carries them."""

from collections.abc import Mapping
from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.state import StepState
    from gamepipe.wire import StepResult

from workflows import policy
from workflows.carrying import bytes_of, size_of
from workflows.context import RunContext


def kept(outputs: Mapping[str, str], context: RunContext, index: int) -> Mapping[str, str]:
    """What a running step has written so far, if it may stand beside the outputs of others."""
    step = context.book.steps[index]
    fits = _total({**step.outputs, **outputs}, context, index) <= policy.OUTPUT_BYTES
    return outputs if fits else {}


def _total(outputs: dict[str, str], context: RunContext, index: int) -> int:
    """Bytes of all outputs, with these ones of that step."""
    others = (step for step in context.book.steps if step.index != index)
    return context.dropped_output_bytes + size_of(others) + bytes_of(outputs)


def bounded(result: StepResult, context: RunContext, index: int) -> StepResult:
    """The result, or the failure of a step whose outputs are too many beside those of others."""
    if not result.outputs:
        return result
    total = _total(result.outputs, context, index)
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
