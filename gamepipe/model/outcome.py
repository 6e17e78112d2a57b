"""What a run comes to, once every step of it has ended."""

from gamepipe.model import reason as reasons
from gamepipe.model.run import RunBook
from gamepipe.model.state import PipelineState, StepState


def outcome(book: RunBook) -> tuple[PipelineState, str, str]:
    """(state, reason, message) of a run whose steps have all ended without an interruption."""
    failed = book.failed_steps()
    if not failed:
        return _outcome_without_failure(book)
    first = min(failed, key=lambda step: (str(step.ended_at), step.index))
    detail = first.message or first.reason
    return PipelineState.FAILED, reasons.STEP_FAILED, f"step {first.name!r} failed: {detail}"


def _outcome_without_failure(book: RunBook) -> tuple[PipelineState, str, str]:
    """Completed, unless a step was kept from running: that is never a success."""
    for step in book.steps:
        if step.state is StepState.SKIPPED and step.reason == reasons.CANCELED:
            message = f"step {step.name!r} did not run: {step.message or step.reason}"
            return PipelineState.FAILED, reasons.STEP_FAILED, message
    return PipelineState.COMPLETED, "", ""
