"""A run that continued as new goes on with attempts that an earlier run began."""

import dataclasses

from temporalio.worker import Worker

from gamepipe.wire import StopStep
from tests.agent.making import assignment
from tests.agent.running import OneOrder, OneStep
from tests.gateway.conftest import Gateway
from tests.reference.client import ReferenceNode
from tests.reference.test_node import OK
from tests.waiting import eventually


async def test_a_node_is_told_the_run_that_began_the_attempt_and_reports_to_the_one_that_asks(
    gateway: Gateway, node: ReferenceNode
) -> None:
    order = StopStep(
        pipeline_id="c1",
        generation=1,
        step_index=0,
        attempt=1,
        grace_seconds=1.0,
        run_id="began",
    )
    worker = Worker(gateway.client, task_queue="continuing", workflows=[OneStep, OneOrder])
    async with worker:
        step = await gateway.client.start_workflow(
            OneStep.run,
            args=["ref", assignment("true", pipeline_id="c1", run_id="began")],
            id="pipeline-c1",
            task_queue="continuing",
        )
        work = await node.take()
        assert work.run_id == "began"
        assert await node.running(work) == OK
        await eventually(lambda: step.query("kinds"))
        stop = await gateway.client.start_workflow(
            OneOrder.run,
            args=["ref", "stop_step", dataclasses.asdict(order)],
            id="stop-c1",
            task_queue="continuing",
        )
        stopping = await node.take("stop_step")
        assert stopping.run_id == "began"
        assert await node.stopped(stopping) == OK
        await stop.result()
        assert await node.end(work) == OK
        assert (await step.result()).state == "completed"
