"""Many light agents in one process: `python -m tests.e2e.crowd GRPC TEMPORAL COUNT` (addresses).

Each registers, holds its stream, beats, and serves its own queue. A step does nothing and takes a
moment, from when all are connected. Then they print `connected`; they run until they are killed.
"""

import asyncio
import sys
from contextlib import suppress
from datetime import UTC, datetime

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from bench.simulated import Simulated
from gamepipe.logs import configure_logging
from gamepipe.model.state import StepState
from gamepipe.v1 import node_pb2
from gamepipe.wire import CleanWorkspace, StepAssignment, StepResult, node_identity, node_queue

FACTS = node_pb2.NodeFacts(cpu=1, memory_bytes=1 << 33, disk_bytes=1 << 36, features=["command"])
STEP_SECONDS = 0.2
BEAT_SECONDS = 1.0


@activity.defn(name="run_step")
async def run_step(assignment: StepAssignment) -> StepResult:
    del assignment
    begun = datetime.now(UTC)
    while not all_connected.is_set():
        activity.heartbeat()
        with suppress(TimeoutError):
            await asyncio.wait_for(all_connected.wait(), BEAT_SECONDS)
    await asyncio.sleep(STEP_SECONDS)
    ended = datetime.now(UTC)
    return StepResult(state=StepState.COMPLETED, started_at=begun, ended_at=ended, exit_code=0)


@activity.defn(name="clean_workspace")
async def clean_workspace(order: CleanWorkspace) -> None:
    del order


async def live(client: Client, grpc_address: str, node_id: str) -> None:
    """It serves its queue before anything can be placed on it."""
    worker = Worker(
        client,
        task_queue=node_queue(node_id),
        activities=[run_step, clean_workspace],
        identity=node_identity(node_id),
        max_concurrent_activity_task_polls=1,
    )
    async with worker:
        agent = Simulated(
            grpc_address,
            node_id,
            BEAT_SECONDS,
            connected.release,
            transport="temporal",
            facts=FACTS,
        )
        await agent.run()


connected = asyncio.Semaphore(0)
all_connected = asyncio.Event()


async def main(grpc_address: str, temporal_address: str, count: str) -> None:
    configure_logging("ERROR")
    client = await Client.connect(temporal_address)
    async with asyncio.TaskGroup() as group:
        for number in range(int(count)):
            group.create_task(live(client, grpc_address, f"crowd-{number:02}"))
        for _ in range(int(count)):
            await connected.acquire()
        all_connected.set()
        print("connected", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
