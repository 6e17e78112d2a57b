"""Status that clients report by ids alone: judged first, so that a refusal changes nothing."""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from gamepipe.model import reason as reasons
    from gamepipe.model.errors import GamePipeError, IllegalTransition, LeaseLost, NotFound
    from gamepipe.model.record import StepRecord
    from gamepipe.model.state import PipelineState, StepState
    from gamepipe.wire import PipelineStatus, StepResult, StepStatus

from workflows.context import HaltKind, RunContext
from workflows.generation import Generation


def check_step(context: RunContext, status: StepStatus) -> None:
    """Raises `ApplicationError` typed by the reason, which refuses the update."""
    try:
        _check_step(context, status)
    except GamePipeError as error:
        raise refusal(error) from error


def _check_step(context: RunContext, status: StepStatus) -> None:
    book = context.book
    if status.step_index >= len(book.steps):
        raise NotFound("step", str(status.step_index))
    step = book.steps[status.step_index]
    if (status.generation, status.attempt) != (book.generation, step.attempt):
        raise LeaseLost(
            f"step {step.name!r} is at generation {book.generation}, attempt {step.attempt}; this "
            f"is about generation {status.generation}, attempt {status.attempt}"
        )
    if status.state not in (StepState.RUNNING, StepState.COMPLETED, StepState.FAILED):
        raise IllegalTransition(f"nobody may report {status.state}: running, completed or failed")
    if step.state is not status.state and not _may_follow(step, status.state):
        raise IllegalTransition(f"step {step.name!r} is {step.state}: it cannot be {status.state}")


def _may_follow(step: StepRecord, state: StepState) -> bool:
    """An attempt that is out may end without having been reported as running; one that is over may
    not, though its step is pending until the next one."""
    if step.state is StepState.PENDING:
        return step.attempt > 0 and not step.attempt_ended
    return step.state.may_become(state)


def check_pipeline(context: RunContext, status: PipelineStatus) -> None:
    """Raises `ApplicationError`, which refuses the update."""
    state = context.book.state
    wanted = (state, PipelineState.CANCELED, PipelineState.FAILED)
    if status.state not in wanted or (state.is_terminal and status.state is not state):
        raise refusal(
            IllegalTransition(
                f"the pipeline is {state}: report that, or canceled or failed while it is live"
            )
        )


async def apply_step(
    context: RunContext, generation: Generation | None, status: StepStatus
) -> StepRecord:
    """Make it count; an end returns once nothing of the attempt runs any more."""
    book, index = context.book, status.step_index
    if book.steps[index].state is status.state and status.state is not StepState.RUNNING:
        return book.steps[index]
    if status.state is StepState.RUNNING:
        context.alive_dispatches.add(index)
        book.run_step(index, attempt=status.attempt, at=workflow.now())
        if status.percent is not None or status.message:
            book.progress_step(index, percent=status.percent, message=status.message, outputs={})
        context.saver.hurry()
    elif generation is not None and not book.steps[index].attempt_ended:
        await generation.end_step(index, _result(context, status))
    return book.steps[index]


def _result(context: RunContext, status: StepStatus) -> StepResult:
    failed = status.state is StepState.FAILED
    return StepResult(
        state=status.state,
        started_at=context.book.steps[status.step_index].started_at or workflow.now(),
        ended_at=workflow.now(),
        reason=(status.reason or reasons.REPORTED_FAILED) if failed else "",
        message=status.message,
        exit_code=status.exit_code,
        outputs={} if failed else status.outputs,
    )


def apply_pipeline(context: RunContext, status: PipelineStatus) -> None:
    """The present state changes nothing; the others begin the end."""
    if status.state is context.book.state:
        return
    if status.state is PipelineState.CANCELED:
        context.halt_for(HaltKind.CANCEL, status.message or "canceled on request")
    else:
        context.halt_for(HaltKind.FAIL, status.message or "reported as failed")


def refusal(error: GamePipeError) -> ApplicationError:
    """How a domain error refuses an update; the service makes it the same error again."""
    return ApplicationError(error.message, type=error.reason, non_retryable=True)
