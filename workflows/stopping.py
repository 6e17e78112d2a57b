"""Stopping an attempt on its node."""

from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from gamepipe.model.spec import Step
    from gamepipe.wire import StopStep, node_queue

from workflows import policy
from workflows.context import RunContext

if TYPE_CHECKING:
    from workflows.generation import Generation


async def stop_step(
    context: RunContext, generation: "Generation", step: Step, attempt: int
) -> bool:
    """Stop an attempt; True once nothing of it runs any more. In a halted run a node that does not
    confirm it is out of reach: nothing more is asked of it. Otherwise the run goes on, and its end
    sees to it that nothing of the step is left."""
    stopped = await _order(context, generation, step, attempt)
    if not stopped and (context.halted or not workflow.patched("stop-fails-alone")):
        context.unreachable = True
    elif not stopped and workflow.patched("unconfirmed-stops-are-kept"):
        context.unconfirmed.add(step.index)
    return stopped


async def _order(context: RunContext, generation: "Generation", step: Step, attempt: int) -> bool:
    """A grace that is shortened meanwhile is sent on."""
    while True:
        grace = context.grace_seconds
        activity = _send(context, generation, step, attempt)
        await workflow.wait_condition(
            lambda activity=activity, grace=grace: (  # type: ignore[misc]
                activity.done() or context.grace_seconds < grace or generation.lost
            )
        )
        if generation.lost:
            return False
        if activity.done():
            return await _confirmed(activity)


def _send(
    context: RunContext, generation: "Generation", step: Step, attempt: int
) -> workflow.ActivityHandle[RawValue]:
    return workflow.start_activity(
        "stop_step",
        StopStep(
            pipeline_id=context.start.pipeline_id,
            generation=generation.number,
            step_index=step.index,
            attempt=attempt,
            grace_seconds=context.grace_seconds,
            run_id=context.begun_by.get(step.index),
        ),
        result_type=RawValue,
        task_queue=node_queue(generation.node_id),
        schedule_to_start_timeout=policy.STOP_DELIVERY,
        schedule_to_close_timeout=context.grace + policy.STOP_MARGIN,
        heartbeat_timeout=policy.ORDER_HEARTBEAT,
        retry_policy=policy.DELIVER,
        summary=f"stop step {step.name}, {generation.node_id}"[:200],
    )


async def _confirmed(activity: workflow.ActivityHandle[RawValue]) -> bool:
    """It was carried out, whatever the answer says."""
    try:
        await activity
    except ActivityError:
        return False
    return True
