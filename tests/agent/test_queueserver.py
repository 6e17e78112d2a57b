"""Task queues that change hands."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from temporalio import activity
from temporalio.client import Client

from gamepipe.queueserver import QueueServer


@activity.defn(name="run_step")
async def run_step() -> None:
    pass


def _connected(client: Client) -> Callable[[], Awaitable[Client]]:
    async def connect() -> Client:
        return client

    return connect


async def test_a_queue_that_is_left_at_once_can_be_served_again(temporal_client: Client) -> None:
    """The worker had not come up when it was told to go."""
    with structlog.testing.capture_logs() as said:
        for _ in range(5):
            server = QueueServer(_connected(temporal_client), "hasty", [run_step], pollers=1)
            serving = asyncio.create_task(server.run())
            await server.started.wait()
            await asyncio.sleep(0)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    assert [one for one in said if one["event"] == "worker.broke"] == []
