"""Several processes on one store: nothing oversold, no event lost or seen twice."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process

from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new, registration

WORKER = [sys.executable, "-m", "tests.store.competitor"]
PIPELINES = 64


async def compete(url: str, role: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *WORKER, url, role, *arguments, stdin=PIPE, stdout=PIPE
    )


async def finish(process: Process) -> list[str]:
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().split()


async def fill(store: GamePipelineStore) -> list[str]:
    await store.nodes.register(registration("n1", gpus=4, cpu=1000), now=NOW)
    await store.nodes.register(registration("n2", gpus=4, cpu=1000), now=NOW)
    ids = [f"p{number}" for number in range(PIPELINES)]
    for pipeline_id in ids:
        await store.pipelines.add(new(pipeline_id, gpus=1), now=NOW)
    return ids


async def hold_invariants(store: GamePipelineStore) -> None:
    held = await store.placements.live_allocations()
    sold = [(one.node_id, one.gpu_devices) for one in held]
    assert len(sold) == len(set(sold)) == 8
    assert len(await store.placements.queue()) == PIPELINES - 8


async def test_of_64_placements_from_two_processes_8_win(
    store: GamePipelineStore, store_url: str
) -> None:
    ids = await fill(store)
    rivals = [await compete(store_url, "place", *half) for half in (ids[::2], ids[1::2])]
    placed = [one for rival in rivals for one in await finish(rival)]
    assert len(placed) == 8
    await hold_invariants(store)


async def test_a_worker_killed_between_commit_and_answer_loses_nothing(
    store: GamePipelineStore, store_url: str
) -> None:
    ids = await fill(store)
    rival = await compete(store_url, "place-slowly", *ids[:32])
    assert rival.stdout is not None
    for _ in range(5):  # five were committed; the sixth may be, without an answer
        await rival.stdout.readline()
    os.kill(rival.pid, signal.SIGKILL)
    await rival.wait()
    again = [await compete(store_url, "place", *half) for half in (ids[:32], ids[32:])]
    placed = {one for rival in again for one in await finish(rival)}
    assert len(placed) == 8
    await hold_invariants(store)


async def test_every_event_reaches_a_reader_once_among_concurrent_writers(
    store: GamePipelineStore, store_url: str
) -> None:
    for number in range(4):
        await store.pipelines.add(new(f"p{number}"), now=NOW)
    first = await store.events.last_id()
    writers = [await compete(store_url, "write", f"p{number}", "50") for number in range(4)]
    chance = random.Random(7)
    seen: list[tuple[str, int | None]] = []
    last = first
    while len(seen) < 200:
        reader = await GamePipelineStore.open(store_url)  # reconnects at random
        wakeup = reader.wakeup()
        for _ in range(chance.randint(1, 5)):
            events = await reader.events.read(after_id=last, limit=chance.randint(1, 20))
            seen += [(event.pipeline_id, event.number) for event in events]
            last = events[-1].id if events else last
            if not events:
                await wakeup.wait(timeout_seconds=1.0)
        await reader.close()
    for writer in writers:
        await finish(writer)
    assert sorted(seen) == sorted((f"p{w}", n) for w in range(4) for n in range(1, 51))


async def test_a_write_of_another_process_wakes_a_reader(
    store: GamePipelineStore, store_url: str
) -> None:
    await store.pipelines.add(new("p0"), now=NOW)
    wakeup = store.wakeup()
    while await wakeup.wait(timeout_seconds=0.3):
        continue  # what came before
    writer = await compete(store_url, "write", "p0", "1")
    assert await wakeup.wait(timeout_seconds=20)
    await finish(writer)
