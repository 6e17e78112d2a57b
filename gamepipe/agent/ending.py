"""How an attempt's exit becomes its result."""

from collections.abc import Sequence
from datetime import datetime

from gamepipe.agent.folder import is_disk_full
from gamepipe.agent.mask import Masker
from gamepipe.agent.output import BadOutput, read_outputs
from gamepipe.agent.runtime import Exit, StepPlan
from gamepipe.model import reason as reasons
from gamepipe.model.record import Instance
from gamepipe.model.state import StepState
from gamepipe.wire import StepResult

MESSAGE_LIMIT = 2000
"""Characters of what a failed step's message says, and as many of the lines that it quotes."""


class Refused(Exception):
    """The attempt ends before it starts."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


def failed(
    reason: str,
    message: str,
    *,
    started_at: datetime | None,
    ended_at: datetime,
    retryable: bool = True,
    exit_code: int | None = None,
    lines: int = 0,
) -> StepResult:
    return StepResult(
        state=StepState.FAILED,
        started_at=started_at,
        ended_at=ended_at,
        reason=reason,
        message=message,
        exit_code=exit_code,
        log_lines=lines,
        retryable=retryable,
    )


def ended(
    leave: Exit, plan: StepPlan, *, masker: Masker, lines: int, tail: Sequence[str] = ()
) -> StepResult:
    """The result of an attempt that the runtime followed to its end; reads its outputs.

    Args:
        leave: the end as the runtime tells it.
        plan: the attempt.
        masker: keeps values out of the result.
        lines: how many the attempt wrote.
        tail: the last of them, masked.
    """
    if leave.reason or not (leave.service_up or leave.exit_code == 0):
        return failed(
            leave.reason or reasons.EXIT_CODE,
            _told(leave, masker, tail),
            started_at=leave.started_at,
            ended_at=leave.ended_at,
            retryable=leave.retryable,
            exit_code=leave.exit_code,
            lines=lines,
        )
    try:
        outputs = read_outputs(plan.output_file, plan.step.outputs, mask=masker.mask)
    except BadOutput as error:
        return failed(
            reasons.OUTPUT_INVALID,
            str(error),
            started_at=leave.started_at,
            ended_at=leave.ended_at,
            exit_code=leave.exit_code,
            lines=lines,
        )
    return StepResult(
        state=StepState.COMPLETED,
        started_at=leave.started_at,
        ended_at=leave.ended_at,
        message=masker.mask(leave.message),
        exit_code=leave.exit_code,
        outputs=outputs,
        log_lines=lines,
        instance=_instance(leave, plan, masker) if leave.service_up else None,
    )


def _told(leave: Exit, masker: Masker, tail: Sequence[str]) -> str:
    """Why it failed, and what it said; everything is masked first and shortened afterwards."""
    message = masker.mask(leave.message or f"exit code {leave.exit_code}")
    if leave.said:
        message += f": {masker.mask(leave.said, is_cut=leave.said_is_cut)}"
    message = message[:MESSAGE_LIMIT]
    if leave.quotes_log and tail:
        message += "; its last lines:\n" + "\n".join(tail)[-MESSAGE_LIMIT:]
    return message


def instance_id(pipeline_id: str, generation: int, step_index: int) -> str:
    return f"{pipeline_id}.g{generation}.s{step_index}"


def _instance(leave: Exit, plan: StepPlan, masker: Masker) -> Instance:
    key = plan.key
    return Instance(
        id=instance_id(key.pipeline_id, key.generation, key.step_index),
        pipeline_id=key.pipeline_id,
        generation=key.generation,
        step_index=key.step_index,
        step_name=plan.step.name,
        attempt=key.attempt,
        node_id=plan.node_id,
        container_id=leave.container_id,
        container_name=leave.container_name,
        image=masker.mask(plan.step.container.image) if plan.step.container else "",
        ports=leave.ports,
        started_at=leave.started_at,
    )


def explain(error: Exception) -> tuple[str, str]:
    """(reason, message) of an error that nobody expected, or of a full disk."""
    if is_disk_full(error):
        path = getattr(error, "filename", None) or "the agent's data directory"
        return reasons.DISK_FULL, f"no space left on the node for {path}: free disk space there"
    name = type(error).__name__
    return reasons.RUNNER_ERROR, f"the agent could not run the step: {name}: {error}"
