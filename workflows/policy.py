"""Every timeout and retry policy of the workflows, named, in one place."""

from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from gamepipe.wire import ORDER_HEARTBEAT_SECONDS

ONE_TRY: Final = RetryPolicy(maximum_attempts=1)
"""Node activities: the workflow counts attempts and dispatches itself."""

DELIVER: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2)
)
"""Orders to a node: sent again when they were not delivered, within their schedule-to-close."""

STORE: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(seconds=15),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=5),
    ),
}
"""Activities that talk to the store: retried without limit."""

LOCAL: Final[dict[str, Any]] = {
    # A longer wait becomes a timer, so that a store that is down does not hold a workflow task.
    "local_retry_threshold": timedelta(seconds=1),
}
"""Besides, where they are local ones."""

RECORDED_BYTES: Final = 1024 * 1024
"""The largest request to the store that history has; Temporal takes 2 MB."""

GATHER: Final = timedelta(milliseconds=500)
"""How long a change waits for others to share its save; news of a step's start does not wait."""

WATCH_HEARTBEAT: Final = timedelta(seconds=30)
"""Of an activity that waits for something in the store: after a worker's death another goes on."""

UNLIMITED: Final = timedelta(days=3650)
"""Start-to-close of a step without a timeout of its own (Temporal wants one)."""

STEP_MARGIN: Final = timedelta(seconds=30)
"""Added to a step's timeout and grace: the agent enforces them, Temporal only backs it up."""

STOP_DELIVERY: Final = timedelta(seconds=10)
"""How long a stop may wait for the node to take it."""

STOP_MARGIN: Final = timedelta(seconds=15)
"""Above the grace, until a stop that the node took must have returned."""

ORDER_HEARTBEAT: Final = timedelta(seconds=ORDER_HEARTBEAT_SECONDS)
"""Silence after which an order counts as lost with its agent, and is sent again."""

STOPPED_STEP_END: Final = timedelta(seconds=10)
"""How long a stopped step's own `run_step` may still take to answer."""

CLEAN_UP: Final = timedelta(seconds=60)
"""Removal of a workspace."""

CLEAN_UP_DELIVERY: Final = timedelta(seconds=10)

ALWAYS_STEP_IN_CANCEL: Final = timedelta(minutes=5)
"""Timeout of an `always` step without its own while the pipeline is being canceled."""

UNREACHABLE_AFTER: Final = timedelta(seconds=30)
"""A canceled pipeline on an unreachable node ends within its grace and this."""

LEAST_DELIVERY: Final = timedelta(seconds=1)
"""What is left of a deadline is never less for a node to take something."""

HALTED_HEARTBEAT: Final = timedelta(seconds=10)
"""Heartbeat timeout of a step that begins in a halted run: a node that dies is noticed soon."""

LEAST_ANSWER: Final = timedelta(seconds=20)
"""What is left of a deadline is never less for a node to carry an order out."""

OUTPUT_BYTES: Final = 256 * 1024
"""All outputs of a pipeline together, as JSON: a run that continues as new carries them in one
payload, of which Temporal takes 2 MB."""

FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=30)


def dispatch_pause(silent: int) -> timedelta:
    """Before the next dispatch of an attempt, behind so many in a row without any report."""
    doubled: int = 2 ** min(silent - 1, 10)
    return min(FIRST_PAUSE * doubled, LONGEST_PAUSE)
