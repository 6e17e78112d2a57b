"""What a run comes to."""

from datetime import UTC, datetime

from gamepipe.model.outcome import outcome
from gamepipe.model.run import RunBook
from gamepipe.model.spec import PipelineSpec, Step
from gamepipe.model.state import PipelineState, StepState


def _book() -> RunBook:
    spec = PipelineSpec(name="x", steps=(Step(index=0, name="one"),))
    return RunBook(spec, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def test_a_step_that_was_kept_from_running_is_no_success() -> None:
    book = _book()
    book.end_step(0, StepState.SKIPPED, reason="CANCELED", message="the pipeline was stopped")
    state, reason, message = outcome(book)
    assert (state, reason) == (PipelineState.FAILED, "STEP_FAILED")
    assert message == "step 'one' did not run: the pipeline was stopped"


def test_a_step_whose_condition_was_false_is_one() -> None:
    book = _book()
    book.end_step(0, StepState.SKIPPED, reason="CONDITION_FALSE", message="failure()")
    assert outcome(book) == (PipelineState.COMPLETED, "", "")


def test_an_attempt_has_ended_until_the_next_one_is_sent_out() -> None:
    book = _book()
    book.dispatch_step(0, attempt=1, dispatch=1)
    assert not book.steps[0].attempt_ended
    book.end_attempt(0, reason="EXIT_CODE", message="", exit_code=1)
    assert book.steps[0].attempt_ended
    book.dispatch_step(0, attempt=2, dispatch=1)
    assert not book.steps[0].attempt_ended
