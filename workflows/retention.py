"""The workflow `Retention`: removes old terminal pipelines; started by a Temporal schedule."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from gamepipe.wire import CleanUp

RETENTION_TIMEOUT = timedelta(minutes=30)


@workflow.defn(name="Retention")
class Retention:
    """One pass; the schedule never runs two at the same time."""

    @workflow.run
    async def run(self, clean_up: CleanUp) -> int:
        """The number of pipelines removed."""
        removed: int = await workflow.execute_activity(
            "clean_up_pipelines",
            clean_up,
            result_type=int,
            start_to_close_timeout=RETENTION_TIMEOUT,
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_attempts=5),
            summary=f"older than {timedelta(seconds=clean_up.retention_seconds)}",
        )
        return removed
