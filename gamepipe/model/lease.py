"""What a report about an attempt still counts for, judged by the book of its run."""

from collections.abc import Sequence
from enum import StrEnum

from gamepipe.model.record import AttemptKey, StepRecord
from gamepipe.model.state import StepState


class Outcome(StrEnum):
    """The answer to a report."""

    OK = "ok"
    """It counts, or did so already."""
    ABORTED = "aborted"
    """A newer attempt stands, or another end: the node's attempt is nobody's any more."""
    RETRY = "retry"
    """The attempt stands and has not ended: the report counts under its newest dispatch."""


def judge(
    key: AttemptKey, ended: StepState | None, *, generation: int, steps: Sequence[StepRecord]
) -> Outcome:
    """What became of an attempt, for a report under a token that Temporal does not know any more.

    Args:
        key: The attempt that the report is about.
        ended: The end that it tells; None: it says that the attempt runs.
        generation: The current one of the run.
        steps: Of that generation, by index.
    """
    if generation != key.generation or key.step_index >= len(steps):
        return Outcome.ABORTED
    step = steps[key.step_index]
    if step.attempt != key.attempt:
        return Outcome.ABORTED
    end = _end_of(step)
    if end is None:
        return Outcome.RETRY
    return Outcome.OK if ended is end else Outcome.ABORTED


def _end_of(step: StepRecord) -> StepState | None:
    """How the step's current attempt ended; None while it has not."""
    if not step.attempt_ended:
        return None
    return step.state if step.state.is_terminal else StepState.FAILED
