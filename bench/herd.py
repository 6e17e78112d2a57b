"""`python -m bench.herd`: a whole fleet comes back at once, behind a gateway that was killed.

How long until every agent has its stream again, and how long somebody who asks over REST waits
meanwhile, beside what they wait when nothing happens.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from bench.fleet import simulated
from gamepipe.embedded.stack import Stack, StackOptions

ASK_SECONDS = 0.05
CALM_SECONDS = 10.0
BACK_SECONDS = 300.0


class Asker:
    """Asks for a node again and again; milliseconds of each answer."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.milliseconds: list[float] = []
        self.answered = asyncio.Event()

    async def run(self) -> None:
        while True:
            begun = time.perf_counter()
            with suppress(httpx.TransportError):
                (await self._http.get("/nodes/sim-0")).raise_for_status()
                self.milliseconds.append(1000 * (time.perf_counter() - begun))
                self.answered.set()
            await asyncio.sleep(ASK_SECONDS)

    def take(self) -> dict[str, float]:
        """Figures since the last call."""
        taken, self.milliseconds = sorted(self.milliseconds), []
        return {
            "p50_ms": statistics.median(taken),
            "p95_ms": taken[int(len(taken) * 0.95)],
            "longest_ms": taken[-1],
        }


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    stack = Stack(StackOptions(data_dir=folder, free_ports=True))
    await stack.start()
    base = f"{stack.info.url}/api/v1"
    try:
        async with (
            simulated(stack.info.grpc_address, options.agents, options.interval) as fleet,
            httpx.AsyncClient(base_url=base, timeout=60) as http,
        ):
            asker = Asker(http)
            asking = asyncio.create_task(asker.run())
            await asyncio.sleep(CALM_SECONDS)
            calm, herd = asker.take(), []
            for _ in range(options.rounds):
                herd.append(await one_round(stack, fleet, asker))
            asking.cancel()
    finally:
        await stack.stop()
    median = {name: statistics.median(one[name] for one in herd) for name in herd[0]}
    return {"calm": calm, "herd": median}


async def one_round(
    stack: Stack, fleet: asyncio.subprocess.Process, asker: Asker
) -> dict[str, float]:
    """Kill the gateway, which is started again, and wait until all came back."""
    assert fleet.stdout is not None
    asker.answered.clear()
    os.kill(stack.info.pids["gateway"], signal.SIGKILL)
    await asker.answered.wait()
    up = time.perf_counter()
    asker.milliseconds.clear()
    await asyncio.wait_for(fleet.stdout.readline(), BACK_SECONDS)
    back = time.perf_counter() - up
    asker.answered.clear()
    await asker.answered.wait()  # what was asked while they came back counts, too
    return asker.take() | {"back_seconds": back}


def report(figures: dict[str, Any], agents: int) -> None:
    calm, herd = figures["calm"], figures["herd"]
    print(
        f"{agents} agents lost their gateway at once: all were back {herd['back_seconds']:.1f} s"
        " after it answered again"
    )
    for name, one in (("nothing happens", calm), ("they come back", herd)):
        print(
            f"  REST while {name:<16} p50 {one['p50_ms']:6.1f} ms   p95 {one['p95_ms']:6.1f} ms"
            f"   longest {one['longest_ms']:6.1f} ms"
        )


async def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as folder:
        figures = await measure(options, Path(folder))
    report(figures, options.agents)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.herd", description=__doc__)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between heartbeats")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
