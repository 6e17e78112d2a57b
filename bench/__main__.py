"""`python -m bench`: three-step pipelines against the bare engine, side by side in one run.

Both sides run on the same Temporal server and the same node. They take turns, so that whatever
slows the machine slows both. Latency: one at a time on an idle stack, from the request to the
known end. Throughput: 50 in flight.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from bench.bare import BARE_QUEUE, STEPS, BareRun
from bench.cost import Usage, peak_memory_mib
from bench.timing import timed
from gamepipe.connecting import connect_temporal
from gamepipe.embedded.stack import Stack, StackOptions
from gamepipe.model.node import NodeFacts
from gamepipe.ports import Registration
from gamepipe.wire import workflow_id
from store.store import GamePipelineStore

IN_FLIGHT = 50
AGENT_NODE, INSTANT_NODE = "local", "instant"
TARGETS = {"latency": 1.5, "throughput": 0.6}
_ids = count(1)

Side = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One side on one node."""

    latency_ms: float
    """Median of single pipelines on an idle stack."""
    per_second: float
    cpu_ms: dict[str, float]
    """CPU milliseconds per pipeline under load, by process."""


class Bench:
    """Runs both sides against one node."""

    def __init__(self, client: Client, http: httpx.AsyncClient, pids: dict[str, int]) -> None:
        self._client = client
        self._http = http
        self.pids = pids

    def ours(self, node_id: str) -> Side:
        steps = [{"name": name, "type": "command", "command": "true"} for name in STEPS]
        definition = {"name": "bench", "steps": steps, "placement": {"node": node_id}}

        async def run() -> None:
            answer = await self._http.post("/pipelines", json={"definition": definition})
            answer.raise_for_status()
            handle = self._client.get_workflow_handle(workflow_id(answer.json()["id"]))
            end: Any = await handle.result()
            if end["state"] != "completed":
                raise RuntimeError(f"a pipeline of the benchmark ended as {end}")

        return run

    def bare(self, node_id: str) -> Side:
        async def run() -> None:
            name = f"bare-{node_id}-{next(_ids)}"
            await self._client.execute_workflow(
                "BareRun",
                BareRun(pipeline_id=name, node_id=node_id),
                id=name,
                task_queue=BARE_QUEUE,
            )

        return run

    async def compare(
        self, node_id: str, *, singles: int, load: int, rounds: int
    ) -> dict[str, Figures]:
        """Figures by side; both warm up first, then take turns."""
        sides = {"bare": self.bare(node_id), "ours": self.ours(node_id)}
        for side in sides.values():
            await _load(side, 20)
        latencies: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(singles):
            for name, side in sides.items():
                latencies[name].append(await timed(side()))
        seconds = dict.fromkeys(sides, 0.0)
        cpu: dict[str, dict[str, float]] = {name: {} for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                before = Usage.of(self.pids)
                seconds[name] += await timed(_load(side, load))
                used = Usage.of(self.pids).since(before, load * rounds)
                cpu[name] = {key: cpu[name].get(key, 0) + ms for key, ms in used.items()}
        return {
            name: Figures(
                latency_ms=statistics.median(latencies[name]) * 1000,
                per_second=load * rounds / seconds[name],
                cpu_ms=cpu[name],
            )
            for name in sides
        }


async def _load(side: Side, total: int) -> None:
    """`total` runs, `IN_FLIGHT` of them at a time."""
    todo = iter(range(total))

    async def lane() -> None:
        for _ in todo:
            await side()

    await asyncio.gather(*(lane() for _ in range(min(IN_FLIGHT, total))))


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    """A stack with a second, instant node and the bare engine's worker beside it."""
    stack = Stack(StackOptions(data_dir=folder, allow_commands=True, free_ports=True))
    await stack.start()
    try:
        info = stack.info
        client = await connect_temporal(info.temporal_address, "default")
        store = await GamePipelineStore.open(f"sqlite:///{folder / 'gamepipe.db'}")
        await _register_instant(store)
        limits = httpx.Limits(max_connections=2 * IN_FLIGHT)
        async with (
            _process("bench.bare", info.temporal_address) as bare,
            _process("bench.instant", info.temporal_address, INSTANT_NODE) as instant,
            httpx.AsyncClient(base_url=f"{info.url}/api/v1", limits=limits, timeout=60) as http,
        ):
            beating = asyncio.create_task(_keep_alive(store))
            pids = dict(info.pids) | {"bare worker": bare, "instant node": instant}
            yield Bench(client, http, pids)
            beating.cancel()
        await store.close()
    finally:
        await stack.stop()


async def _register_instant(store: GamePipelineStore) -> None:
    facts = NodeFacts(cpu=1, memory_bytes=1 << 30, disk_bytes=1 << 30, features=("command",))
    await store.nodes.register(
        Registration(node_id=INSTANT_NODE, facts=facts), now=datetime.now(UTC)
    )


async def _keep_alive(store: GamePipelineStore) -> None:
    """The instant node has no agent that says it is there."""
    while True:
        await asyncio.sleep(5)
        await _register_instant(store)


def _report(results: dict[str, dict[str, Figures]], memory: dict[str, float]) -> dict[str, Any]:
    report: dict[str, Any] = {"peak_memory_mib": {k: round(v) for k, v in memory.items()}}
    for node, sides in results.items():
        ours, bare = sides["ours"], sides["bare"]
        ratios = {
            "latency": ours.latency_ms / bare.latency_ms,
            "throughput": ours.per_second / bare.per_second,
        }
        report[node] = {name: asdict(figures) for name, figures in sides.items()} | {
            "ratios": ratios
        }
        print(f"\nnode {node!r}, 3 steps        bare engine       pipeline       ratio (target)")
        print(
            f"  latency, idle, median     {bare.latency_ms:8.1f} ms   {ours.latency_ms:8.1f} ms"
            f"      {ratios['latency']:.2f}  (at most {TARGETS['latency']})"
        )
        print(
            f"  throughput, {IN_FLIGHT} in flight  {bare.per_second:8.1f} /s   "
            f"{ours.per_second:8.1f} /s      {ratios['throughput']:.2f}  "
            f"(at least {TARGETS['throughput']})"
        )
        for process in bare.cpu_ms:
            print(
                f"  CPU per pipeline: {process:<13}{bare.cpu_ms[process]:6.1f} ms   "
                f"{ours.cpu_ms[process]:8.1f} ms"
            )
    print("\npeak memory:", ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items()))
    return report


async def _main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as folder:
        async with _bench(Path(folder)) as bench:
            results = {
                node: await bench.compare(
                    node, singles=options.singles, load=options.load, rounds=options.rounds
                )
                for node in options.nodes
            }
            report = _report(results, peak_memory_mib(bench.pids))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--singles", type=int, default=40, help="pipelines for the latency")
    parser.add_argument("--load", type=int, default=150, help="pipelines in a round of load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", nargs="+", default=[INSTANT_NODE, AGENT_NODE])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(_main(parser.parse_args()))


main()
