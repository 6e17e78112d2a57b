"""`python -m bench.commit`: placements per second, from the request to the commit.

Many nodes, and requests of 40 templates with GPU shares, whole GPUs and labels: 1, 8, 64 and 256
of them at once, on SQLite and on PostgreSQL. Each pipeline is a row that exists before the clock
starts, as the gateway leaves it.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from bench.cost import peak_memory_mib
from gamepipe.model.node import GpuFacts, NodeFacts
from gamepipe.model.record import NewPipeline, Progress
from gamepipe.model.spec import (
    GpuRequest,
    Match,
    PipelineSpec,
    PlacementRequest,
    Resources,
    Step,
    StepType,
)
from gamepipe.model.state import PipelineState
from gamepipe.ports import Registration
from gamepipe.wire import PlaceRequest, PlaceStatus, SaveRequest
from store import registration as registering
from store.store import GamePipelineStore
from store.transaction import Transaction
from tests.postgres_fixtures import running_postgres

TARGET_PER_SECOND = 2_000
CONCURRENCY = (1, 8, 64, 256)
_ids = count(1)


def _spec(kind: int) -> PipelineSpec:
    gpu = GpuRequest(count=1) if kind % 4 == 0 else GpuRequest(share=0.1 + 0.02 * (kind % 20))
    match = (Match(key="tier", op="in", values=(f"t{kind % 3}", "any")),) if kind % 2 else ()
    return PipelineSpec(
        name=f"game-{kind}",
        steps=(Step(index=0, name="start", type=StepType.COMMAND, command="true"),),
        resources=Resources(cpu=0.5 + kind % 5, memory_bytes=(1 + kind % 7) << 30, gpu=gpu),
        placement=PlacementRequest(match=match),
    )


def _registration(number: int) -> Registration:
    gpus = tuple(
        GpuFacts(index=index, model="L4", memory_bytes=24 << 30, encoders=8)
        for index in range(1 + number % 8)
    )
    facts = NodeFacts(
        cpu=32 + number % 64,
        memory_bytes=(128 + number % 256) << 30,
        disk_bytes=1 << 40,
        gpus=gpus,
        features=("command", "container"),
    )
    labels = {"tier": ("t0", "t1", "t2", "any")[number % 4]}
    return Registration(node_id=f"node-{number:05}", facts=facts, labels=labels)


class Bench:
    """One store with its nodes."""

    def __init__(self, store: GamePipelineStore) -> None:
        self._store = store

    async def register(self, nodes: int) -> None:
        def work(tx: Transaction) -> None:
            for number in range(nodes):
                registering.register(tx, _registration(number), now=datetime.now(UTC))

        await self._store._database.write(work, placing=True)

    async def add(self, total: int) -> list[PlaceRequest]:
        requests = []
        for _ in range(total):
            number = next(_ids)
            new = NewPipeline(id=f"p{number}", spec=_spec(number % 40), incarnation="1")
            await self._store.pipelines.add(new, now=datetime.now(UTC))
            requests.append(_request(new.id))
        return requests

    async def run(self, total: int, at_once: int) -> dict[str, float]:
        """Placements per second, and the latency of one request."""
        waiting = iter(await self.add(total))
        latencies: list[float] = []

        async def lane() -> None:
            for request in waiting:
                begun = time.perf_counter()
                answer = await self._store.placements.place(request, now=datetime.now(UTC))
                latencies.append(time.perf_counter() - begun)
                if answer.status is not PlaceStatus.PLACED:
                    raise RuntimeError(f"a pipeline of the benchmark was {answer.status}")

        begun = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(at_once)))
        seconds = time.perf_counter() - begun
        cuts = statistics.quantiles(latencies, n=100)
        return {
            "per_second": total / seconds,
            "p50_ms": cuts[49] * 1000,
            "p99_ms": cuts[98] * 1000,
        }


def _request(pipeline_id: str) -> PlaceRequest:
    saved = SaveRequest(
        pipeline_id=pipeline_id,
        incarnation="1",
        run_id="run",
        revision=1,
        state=PipelineState.PENDING,
        generation=1,
        progress=Progress(total=1),
    )
    placed = SaveRequest(
        pipeline_id=pipeline_id,
        incarnation="1",
        run_id="run",
        revision=2,
        state=PipelineState.RUNNING,
        generation=1,
        progress=Progress(total=1),
    )
    return PlaceRequest(
        pipeline_id=pipeline_id,
        generation=1,
        run_id="run",
        definition_revision=1,
        saved=saved,
        placed=placed,
    )


@contextmanager
def _stores(folder: Path) -> Iterator[dict[str, str]]:
    with running_postgres(durable=True) as server:
        database = server.create_database()
        yield {"SQLite": f"sqlite:///{folder / 'bench.db'}", "PostgreSQL": database}


async def _measure(name: str, url: str, nodes: int, total: int) -> dict[str, Any]:
    store = await GamePipelineStore.open(url)
    try:
        bench = Bench(store)
        await bench.register(nodes)
        await bench.run(200, 8)
        results = {}
        for at_once in CONCURRENCY:
            found = await bench.run(total if at_once > 1 else total // 4, at_once)
            results[str(at_once)] = found
            print(
                f"  {name:<11} {at_once:>3} at once  {found['per_second']:8.0f} /s   "
                f"p50 {found['p50_ms']:6.1f} ms   p99 {found['p99_ms']:6.1f} ms"
            )
        return results
    finally:
        await store.close()


async def _main(options: argparse.Namespace) -> None:
    print(f"{options.nodes} nodes; target: at least {TARGET_PER_SECOND}/s in batches")
    with (
        tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as folder,
        _stores(Path(folder)) as urls,
    ):
        report: dict[str, Any] = {
            name: await _measure(name, url, options.nodes, options.total)
            for name, url in urls.items()
        }
    report["peak_memory_mib"] = peak_memory_mib({"store": os.getpid()})["store"]
    print(f"peak memory of this process: {report['peak_memory_mib']:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.commit", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--total", type=int, default=4_000, help="placements for each figure")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
