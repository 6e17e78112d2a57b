"""What a step's end may say: an agent may be of another version, or broken."""

from datetime import datetime

from gamepipe.model.record import Instance
from gamepipe.model.state import StepState
from gamepipe.wire.node import StepAssignment, StepResult

_INT32, _INT64 = 2**31, 2**63


def flaw_of(result: StepResult, assignment: StepAssignment, node_id: str) -> str:
    """What is wrong with the end of an assignment of this node; "" for nothing. Every type in it
    is right already."""
    if result.state not in (StepState.COMPLETED, StepState.FAILED):
        return f"a step ends as completed or failed, not as {result.state}"
    if not _is_whole(result.exit_code, _INT32):
        return "`exit_code` is out of range"
    if result.log_lines < 0 or not _is_whole(result.log_lines, _INT64):
        return "`log_lines` is out of range"
    if not _are_aware(result.started_at, result.ended_at):
        return "a time is without its zone"
    return (
        "" if result.instance is None else _flaw_of_instance(result.instance, assignment, node_id)
    )


def _flaw_of_instance(game: Instance, assignment: StepAssignment, node_id: str) -> str:
    known = (assignment.pipeline_id, assignment.generation, assignment.step.index)
    told = (game.pipeline_id, game.generation, game.step_index)
    name = "{}.g{}.s{}".format(*known)
    if told != known or (game.id, game.node_id) != (name, node_id):
        return "`instance` is of another step or node"
    if not _is_whole(game.exit_code, _INT32):
        return "`instance.exit_code` is out of range"
    if not _are_aware(game.started_at, game.ended_at):
        return "a time of `instance` is without its zone"
    return ""


def _is_whole(number: int | None, limit: int) -> bool:
    return number is None or (not isinstance(number, bool) and -limit <= number < limit)


def _are_aware(*times: datetime | None) -> bool:
    return all(time is None or time.tzinfo is not None for time in times)
