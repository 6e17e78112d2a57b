"""What a workflow asks of the store: activities on its own queue, retried without limit."""

from typing import Any

from temporalio import workflow

from workflows import policy


def size_of(request: object) -> int:
    """Bytes, as history would have them."""
    (payload,) = workflow.payload_converter().to_payloads([request])
    return len(payload.data)


async def ask_store(
    activity: str, request: object, result_type: type | None = None, *, recorded: bool
) -> Any:
    """The store's answer.

    Args:
        activity: of the control worker.
        request: its one argument.
        result_type: of the answer.
        recorded: Whether the history has the request (ADR 20). Without it the activity is a local
            one, as in the histories of runs that began before, and where the request is too large.
    """
    if recorded:
        return await workflow.execute_activity(
            activity, request, result_type=result_type, **policy.STORE
        )
    return await workflow.execute_local_activity(
        activity, request, result_type=result_type, **policy.STORE, **policy.LOCAL
    )
