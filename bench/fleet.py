"""`python -m bench.fleet`: what one gateway costs with many agents connected and idle.

CPU and memory of the gateway, and of the Temporal server whose queues it serves for them, for each
fleet in turn, beside the same stack without any agent.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bench.cost import Usage
from gamepipe.embedded.stack import Stack, StackOptions

SETTLE_SECONDS = 15.0
MIB = 1 << 20


@asynccontextmanager
async def simulated(
    address: str, agents: int, interval: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    """That many agents, connected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.simulated", address, str(agents)),
        *("--interval", str(interval)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if line != b"connected\n":
            raise RuntimeError("the simulated agents ended before they were connected")
        yield process
        if process.returncode is not None:
            raise RuntimeError("the simulated agents ended while they were measured")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def measure(pids: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Share of one core and MiB in use, by process, over that time."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = Usage.of(pids)
    await asyncio.sleep(seconds)
    milliseconds = Usage.of(pids).since(before, 1)
    return {
        name: {
            "core_percent": milliseconds[name] / seconds / 10,
            "memory_mib": psutil.Process(pid).memory_info().rss / MIB,
        }
        for name, pid in pids.items()
    }


async def measure_fleet(agents: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """On a stack of its own, whose own agent is idle too."""
    with tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as folder:
        stack = Stack(StackOptions(data_dir=Path(folder), free_ports=True))
        await stack.start()
        try:
            pids = {name: stack.info.pids[name] for name in ("gateway", "temporal", "worker")}
            if not agents:
                return await measure(pids, options.seconds)
            async with simulated(stack.info.grpc_address, agents, options.interval):
                return await measure(pids, options.seconds)
        finally:
            await stack.stop()


def report(figures: dict[int, dict[str, dict[str, float]]]) -> None:
    idle = figures[0]
    print(f"{'agents':>7}  {'process':<9} {'CPU':>14} {'memory':>12} {'memory an agent':>17}")
    for agents, processes in figures.items():
        for name, used in processes.items():
            more = used["memory_mib"] - idle[name]["memory_mib"]
            each = f"{1024 * more / agents:13.0f} KiB" if agents else ""
            print(
                f"{agents:7}  {name:<9} {used['core_percent']:7.1f} % core"
                f" {used['memory_mib']:8.0f} MiB {each:>17}"
            )


async def run(options: argparse.Namespace) -> None:
    figures = {agents: await measure_fleet(agents, options) for agents in (0, *options.agents)}
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between heartbeats")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
