"""`python -m bench.logs`: log lines from 50 agents through gRPC into the store, and to a reader.

Ingest: as fast as they are acknowledged. Tail: at a tenth of the target, from the line's own time
to its arrival at somebody who follows one step over REST. Every line must be stored.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from bench.cost import Usage
from bench.talkers import node_of
from gamepipe.definition import bind, parse_pipeline
from gamepipe.embedded.port import pick_port
from gamepipe.model.node import NodeFacts
from gamepipe.model.record import NewPipeline
from gamepipe.ports import Registration
from store.store import GamePipelineStore
from tests.postgres_fixtures import running_postgres
from tests.store.shapes import LIFE, place_request

TALKERS = 50
TARGETS = {"lines_per_second": 200_000, "tail_p95_ms": 150}


class Gateway:
    """A gateway in a process of its own; no Temporal server is needed to take lines."""

    def __init__(self, store_url: str) -> None:
        taken: set[int] = set()
        self.store_url = store_url
        self.rest, self.grpc = (pick_port(name, 0, taken=taken).number for name in ("r", "g"))
        self.pid = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        environment = os.environ | {
            "GAMEPIPE_STORE_URL": self.store_url,
            "GAMEPIPE_REST_PORT": str(self.rest),
            "GAMEPIPE_GRPC_PORT": str(self.grpc),
            "GAMEPIPE_LOG_LEVEL": "ERROR",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env=environment
        )
        self.pid = process.pid
        try:
            await self._until_up()
            yield
        finally:
            process.terminate()
            await process.wait()

    async def _until_up(self) -> None:
        async with httpx.AsyncClient() as http:
            while True:
                try:
                    if (await http.get(f"http://127.0.0.1:{self.rest}/healthz")).is_success:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)


async def make_pipeline(store: GamePipelineStore, pipeline_id: str) -> None:
    steps = [{"name": f"s{n}", "type": "command", "command": "true"} for n in range(TALKERS)]
    node_id, now = node_of(pipeline_id), datetime.now(UTC)
    file = {"name": "logs", "placement": {"node": node_id}, "steps": steps}
    bound = bind(parse_pipeline(json.dumps(file)), args={}, envs={}, secrets={})
    new = NewPipeline(id=pipeline_id, incarnation=LIFE, spec=bound.spec)
    await store.pipelines.add(new, now=now)
    facts = NodeFacts(cpu=1, memory_bytes=1, disk_bytes=1, features=("command",))
    await store.nodes.register(Registration(node_id=node_id, facts=facts), now=now)
    answer = await store.placements.place(place_request(pipeline_id), now=now)
    if answer.placement is None:
        raise RuntimeError(f"not placed: {answer.status} {answer.summary}")


async def talk(gateway: Gateway, pipeline_id: str, **options: float) -> dict[str, float]:
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.talkers", f"127.0.0.1:{gateway.grpc}", pipeline_id),
        *("--talkers", str(TALKERS), *flags),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the talkers failed")
    return dict(json.loads(output))


async def follow(gateway: Gateway, pipeline_id: str, lines: int) -> list[float]:
    """Milliseconds that each line of step 0 took to arrive."""
    delays: list[float] = []
    url = f"http://127.0.0.1:{gateway.rest}/api/v1/pipelines/{pipeline_id}/logs"
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream(
            "GET",
            url,
            params={"follow": True, "step": "0"},
            headers={"Accept": "application/x-ndjson"},
        ) as answer,
    ):
        async for line in answer.aiter_lines():
            at = datetime.fromisoformat(json.loads(line)["at"])
            delays.append((datetime.now(UTC) - at).total_seconds() * 1000)
            if len(delays) == lines:
                break
    return delays


async def stored(store: GamePipelineStore, pipeline_id: str) -> int:
    tails = await store.logs.tails(pipeline_id)
    return sum(tail.last for tail in tails.values())


async def measure(store_url: str, options: argparse.Namespace) -> dict[str, Any]:
    gateway = Gateway(store_url)
    async with gateway.running():
        store = await GamePipelineStore.open(store_url)
        rounds = []
        for number in range(options.rounds):
            await make_pipeline(store, f"ingest-{number}")
            before = Usage.of({"gateway": gateway.pid})
            figures = await talk(gateway, f"ingest-{number}", lines=options.lines)
            used = Usage.of({"gateway": gateway.pid}).since(before, 1)["gateway"]
            total = options.lines * TALKERS
            if await stored(store, f"ingest-{number}") != total:
                raise RuntimeError("lines were lost")
            rounds.append(figures | {"gateway_cpu_us_per_line": 1000 * used / total})
        await make_pipeline(store, "tail")
        each = options.tail_lines // TALKERS
        following = asyncio.create_task(follow(gateway, "tail", each))
        rate = TARGETS["lines_per_second"] / 10
        await talk(gateway, "tail", lines=each, chunk=20, rate=rate)
        delays = sorted(await asyncio.wait_for(following, 60))
        await store.close()
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return median | {
        "tail_p50_ms": delays[len(delays) // 2],
        "tail_p95_ms": delays[int(len(delays) * 0.95)],
    }


def report(figures: dict[str, dict[str, Any]]) -> None:
    print(f"log lines from {TALKERS} agents, medians of the rounds; every line was stored")
    for store, one in figures.items():
        print(
            f"  {store:<11} {one['lines_per_second']:9.0f} lines/s"
            f" ({one['lines_per_second'] / TARGETS['lines_per_second']:.2f} of the target),"
            f" {one['gateway_cpu_us_per_line']:.1f} us of gateway CPU a line;"
            f" tail at a tenth: p50 {one['tail_p50_ms']:.0f} ms, p95 {one['tail_p95_ms']:.0f} ms"
            f" (target {TARGETS['tail_p95_ms']})"
        )


async def run(options: argparse.Namespace) -> None:
    figures = {}
    with tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as folder:
        for name in options.stores:
            postgres = running_postgres(durable=True) if name == "postgresql" else nullcontext()
            with postgres as server:
                url = server.create_database() if server else f"sqlite:///{folder}/store.db"
                figures[name] = await measure(url, options)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000, help="of each agent, in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tail-lines", type=int, default=200_000, help="of all, for the tail")
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
