"""The workflow `StopInstance`: stops a running game and writes what became of it."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy

with workflow.unsafe.imports_passed_through():
    from gamepipe.wire import (
        InstanceEnd,
        InstanceEnded,
        InstanceStop,
        node_queue,
    )
    from workflows import policy
    from workflows.answer import Rubbish, read_answer
    from workflows.storing import ask_store


_KEEP_TRYING = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)


@workflow.defn(name="StopInstance")
class StopInstance:
    """Idempotent: an instance that is gone already is written as stopped."""

    @workflow.run
    async def run(self, stop: InstanceStop) -> InstanceEnd:
        """Keeps trying while the node is away: a stop that was asked for is never forgotten."""
        recorded = workflow.patched("saves-are-recorded")
        await ask_store("begin_instance_stop", stop.order.instance_id, recorded=recorded)
        answer: RawValue = await workflow.execute_activity(
            "stop_instance",
            stop.order,
            result_type=RawValue,
            task_queue=node_queue(stop.node_id),
            start_to_close_timeout=timedelta(seconds=stop.order.grace_seconds) + policy.STOP_MARGIN,
            heartbeat_timeout=policy.ORDER_HEARTBEAT,
            retry_policy=_KEEP_TRYING,
            summary=f"stop instance {stop.order.instance_id}"[:200],
        )
        end = _end_of(answer)
        await ask_store(
            "end_instance",
            InstanceEnded(instance_id=stop.order.instance_id, node_id=stop.node_id, end=end),
            recorded=recorded,
        )
        return end


def _end_of(answer: RawValue) -> InstanceEnd:
    try:
        return read_answer(answer, InstanceEnd)
    except Rubbish as error:  # it was stopped all the same
        return InstanceEnd(message=str(error))
