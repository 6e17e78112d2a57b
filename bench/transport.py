"""`python -m bench.transport`: three-step pipelines on agents of both kinds, side by side.

Both agents run on this machine, under one stack. Their pipelines take turns, one at a time, so that
whatever slows the machine slows both: from the request to the known end.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.bare import STEPS
from bench.timing import timed
from gamepipe.connecting import connect_temporal
from gamepipe.embedded.info import StackInfo
from gamepipe.embedded.stack import Stack, StackOptions
from gamepipe.wire import workflow_id
from tests.waiting import eventually

TARGET = 1.25
NODES = {"temporal": "local", "grpc": "far"}


@asynccontextmanager
async def grpc_agent(info: StackInfo, folder: Path) -> AsyncIterator[None]:
    """A second agent, which reaches only the gateway."""
    environment = os.environ | {"GAMEPIPE_AGENT_LOG_LEVEL": "ERROR"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamepipe.cli", "agent", "--transport", "grpc"),
        *("--node-id", NODES["grpc"], "--gateway", info.grpc_address, "--allow-commands"),
        *("--docker-url", "", "--data-dir", str(folder)),
        env=environment,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def until_online(http: httpx.AsyncClient, node_id: str) -> None:
    async def known() -> bool:
        return (await http.get(f"/nodes/{node_id}")).is_success

    await eventually(known, what=f"node {node_id}")


async def measure(info: StackInfo, rounds: int) -> dict[str, list[float]]:
    """Seconds of each pipeline, by transport."""
    client = await connect_temporal(info.temporal_address, "default")
    steps = [{"name": name, "type": "command", "command": "true"} for name in STEPS]

    async def run(http: httpx.AsyncClient, node_id: str) -> None:
        definition = {"name": "bench", "steps": steps, "placement": {"node": node_id}}
        answer = await http.post("/pipelines", json={"definition": definition})
        answer.raise_for_status()
        end = await client.get_workflow_handle(workflow_id(answer.json()["id"])).result()
        if end["state"] != "completed":
            raise RuntimeError(f"a pipeline of the benchmark ended as {end}")

    seconds: dict[str, list[float]] = {name: [] for name in NODES}
    async with httpx.AsyncClient(base_url=f"{info.url}/api/v1", timeout=60) as http:
        await until_online(http, NODES["grpc"])
        for number in range(rounds + 5):
            for name, node_id in NODES.items():
                took = await timed(run(http, node_id))
                if number >= 5:  # the first ones warm up
                    seconds[name].append(took)
    return seconds


async def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="gamepipe-bench-") as name:
        folder = Path(name)
        stack = Stack(StackOptions(data_dir=folder, allow_commands=True, free_ports=True))
        await stack.start()
        try:
            async with grpc_agent(stack.info, folder / "far"):
                seconds = await measure(stack.info, options.rounds)
        finally:
            await stack.stop()
    medians = {name: 1000 * statistics.median(one) for name, one in seconds.items()}
    ratio = medians["grpc"] / medians["temporal"]
    print(
        f"3 steps, one pipeline at a time, median of {options.rounds}: "
        f"Temporal agent {medians['temporal']:.1f} ms, gRPC agent {medians['grpc']:.1f} ms, "
        f"ratio {ratio:.2f} (target: at most {TARGET})"
    )
    if options.json:
        options.json.write_text(json.dumps(medians | {"ratio": ratio}), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
