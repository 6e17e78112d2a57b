"""What a node's activities answer, read with care: a workflow task that failed over an answer would
fail over it for ever."""

from typing import TypeVar

from temporalio import workflow
from temporalio.common import RawValue

T = TypeVar("T")


class Rubbish(Exception):
    """The answer is none; the text never holds what it says."""


def read_answer(answer: RawValue | None, kind: type[T]) -> T:
    """The answer of an activity that was started with `result_type=RawValue`. Raises `Rubbish`."""
    what = f"it answered with something that is no {kind.__name__}"
    if answer is None:
        raise Rubbish(what)
    try:
        value = workflow.payload_converter().from_payload(answer.payload, kind)
    except Exception as error:
        raise Rubbish(what) from error
    if not isinstance(value, kind):
        raise Rubbish(what)
    return value
