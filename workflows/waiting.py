"""Waiting for a condition with a limit, as a plain answer instead of an exception."""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow


async def wait_at_most(
    condition: Callable[[], bool], limit: timedelta | None, *, summary: str = ""
) -> bool:
    """Whether the condition came true within the limit (None: wait for ever)."""
    try:
        await workflow.wait_condition(condition, timeout=limit, timeout_summary=summary or None)
    except TimeoutError:
        return False
    return True
