"""A node that ends every step at once: what is left is the engine and the service.

`python -m bench.instant ADDRESS NODE_ID` serves `node-<id>`.
"""

import asyncio
import sys
from datetime import UTC, datetime

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from gamepipe.model.state import StepState
from gamepipe.wire import StepAssignment, StepResult, node_queue


@activity.defn(name="run_step")
async def run_step(assignment: StepAssignment) -> StepResult:
    del assignment
    now = datetime.now(UTC)
    return StepResult(state=StepState.COMPLETED, started_at=now, ended_at=now, exit_code=0)


async def _main(address: str, node_id: str) -> None:
    client = await Client.connect(address)
    worker = Worker(client, task_queue=node_queue(node_id), activities=[run_step])
    await worker.run()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
