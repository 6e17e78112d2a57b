"""The bare engine: a minimal workflow that runs the same three activities and nothing else.

`python -m bench.bare ADDRESS` is its worker.
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from gamepipe.model.spec import Step, StepType
    from gamepipe.wire import Scope, StepAssignment, StepResult, node_queue

BARE_QUEUE = "bench-bare"
STEPS = ("fetch", "unpack", "start")


@dataclass(frozen=True, kw_only=True)
class BareRun:
    pipeline_id: str
    node_id: str


@workflow.defn(name="BareRun")
class BareWorkflow:
    """No placement, no state, no store: what Temporal itself costs."""

    @workflow.run
    async def run(self, run: BareRun) -> None:
        for index, name in enumerate(STEPS):
            await workflow.execute_activity(
                "run_step",
                _assignment(run, index, name),
                result_type=StepResult,
                task_queue=node_queue(run.node_id),
                start_to_close_timeout=timedelta(minutes=5),
                schedule_to_start_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(seconds=30),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )


def _assignment(run: BareRun, index: int, name: str) -> StepAssignment:
    return StepAssignment(
        pipeline_id=run.pipeline_id,
        generation=1,
        attempt=1,
        dispatch=1,
        step=Step(index=index, name=name, type=StepType.COMMAND, command="true"),
        scope=Scope(),
        timeout_seconds=None,
        grace_seconds=10.0,
        heartbeat_seconds=30.0,
        clean_after=index == len(STEPS) - 1,
    )


async def _main(address: str) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=BARE_QUEUE,
        workflows=[BareWorkflow],
        max_cached_workflows=2000,
        max_concurrent_workflow_tasks=200,
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
