"""A node that nobody hears of stops what will run elsewhere."""

import asyncio
from pathlib import Path

import pytest

from gamepipe.agent.cutoff import CutOffWatch
from gamepipe.connecting import connect_temporal
from gamepipe.embedded.temporal import TemporalServer

pytestmark = pytest.mark.temporal


class Silence:
    """How long the gateways have been silent, and how often somebody asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.looks = 0
        self._looked = asyncio.Event()

    def __call__(self) -> float:
        self.looks += 1
        self._looked.set()
        return self.seconds

    async def until_looked(self, times: int) -> None:
        wanted = self.looks + times
        async with asyncio.timeout(20):
            while self.looks < wanted:
                self._looked.clear()
                await self._looked.wait()


async def test_steps_stop_only_when_gateway_and_temporal_are_both_silent(tmp_path: Path):
    server = TemporalServer(data_dir=tmp_path)
    await server.start()
    silence, stopped = Silence(1000.0), asyncio.Event()

    async def stop_steps() -> None:
        stopped.set()

    client = await connect_temporal(server.address, "default")
    watch = CutOffWatch(
        ttl_seconds=lambda: 0.5,
        silent_seconds=silence,
        client=lambda: client,
        stop_steps=stop_steps,
    )
    task = asyncio.create_task(watch.run())
    await silence.until_looked(15)
    assert not stopped.is_set(), "Temporal still answers"
    silence.seconds = 0.0
    await server.stop()
    await silence.until_looked(15)
    assert not stopped.is_set(), "the gateway still answers"
    silence.seconds = 1000.0
    await asyncio.wait_for(stopped.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
