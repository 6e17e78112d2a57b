"""`python -m bench.talkers`: agents in one process that do nothing but ship log lines.

Each has lines of one attempt. Without a rate they are packed before anything is measured, and sent
as fast as they are acknowledged; with one they are packed as they are sent. Prints one JSON object.
"""

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gamepipe.logchunk import pack
from gamepipe.model.record import LogLine, LogStream
from gamepipe.v1 import log_pb2, node_pb2, step_pb2
from gamepipe.v1.node_pb2_grpc import GameNodeServiceStub

UNACKNOWLEDGED = 16
TEXT = "2026-11-24T10:00:00Z INFO renderer: frame {n} took 16.6 ms, 1920x1080, vsync on, queue 2"


def node_of(pipeline_id: str) -> str:
    return f"talkers-{pipeline_id}"[:63]


async def register(stub: GameNodeServiceStub, node_id: str) -> node_pb2.RegisterResponse:
    """The session under which every talker speaks; they are steps of one node."""
    facts = node_pb2.NodeFacts(cpu=1, memory_bytes=1)
    return await stub.Register(node_pb2.RegisterRequest(node_id=node_id, protocol=1, facts=facts))


def requests(
    options: argparse.Namespace, talker: int, own: node_pb2.RegisterResponse
) -> Iterator[node_pb2.PushLogsRequest]:
    """Every request of one talker; times are those of packing."""
    for first in range(1, options.lines + 1, options.chunk):
        now = datetime.now(UTC)
        last_at = Timestamp()
        last_at.FromDatetime(now)
        count = min(options.chunk, options.lines + 1 - first)
        lines = [
            LogLine(number=n, at=now, stream=LogStream.STDOUT, text=TEXT.format(n=n))
            for n in range(first, first + count)
        ]
        yield node_pb2.PushLogsRequest(
            node_id=node_of(options.pipeline),
            session=own.session,
            session_key=own.session_key,
            key=step_pb2.AttemptKey(
                pipeline_id=options.pipeline, generation=1, step_index=talker, attempt=1
            ),
            packed=log_pb2.PackedLines(first=first, count=count, last_at=last_at, data=pack(lines)),
        )


async def talk(
    stub: GameNodeServiceStub, packed: Iterable[node_pb2.PushLogsRequest], pause: float
) -> list[float]:
    """Send them all; seconds from each request to its acknowledgement."""
    call, sent, delays = stub.PushLogs(), deque[tuple[int, float]](), list[float]()
    room = asyncio.Semaphore(UNACKNOWLEDGED)

    async def write() -> None:
        for request in packed:
            await room.acquire()
            sent.append((request.packed.first + request.packed.count - 1, time.perf_counter()))
            await call.write(request)
            await asyncio.sleep(pause)
        await call.done_writing()

    writing = asyncio.create_task(write())
    while isinstance(answer := await call.read(), node_pb2.PushLogsResponse):
        wanted, begun = sent.popleft()
        delays.append(time.perf_counter() - begun)
        room.release()
        if answer.last_number < wanted:
            raise RuntimeError(f"acknowledged up to {answer.last_number}, not {wanted}")
    await writing
    if sent:
        raise RuntimeError(f"{len(sent)} requests were never acknowledged")
    return delays


async def run(options: argparse.Namespace) -> None:
    pause = options.chunk * options.talkers / options.rate if options.rate else 0.0
    async with grpc.aio.insecure_channel(options.address) as channel:
        stub = GameNodeServiceStub(channel)
        own = await register(stub, node_of(options.pipeline))
        packed: list[Iterable[node_pb2.PushLogsRequest]] = [
            requests(options, talker, own) for talker in range(options.talkers)
        ]
        if not options.rate:
            packed = [list(one) for one in packed]
        begun = time.perf_counter()
        delays = await asyncio.gather(*(talk(stub, one, pause) for one in packed))
        seconds = time.perf_counter() - begun
    every = sorted(delay for one in delays for delay in one)
    print(
        json.dumps(
            {
                "lines_per_second": options.lines * options.talkers / seconds,
                "acknowledged_p50_ms": 1000 * every[len(every) // 2],
                "acknowledged_p95_ms": 1000 * every[int(len(every) * 0.95)],
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.talkers", description=__doc__)
    parser.add_argument("address", help="host:port of the gateway's gRPC")
    parser.add_argument("pipeline", help="a pipeline that has at least `talkers` steps")
    parser.add_argument("--talkers", type=int, default=50)
    parser.add_argument("--lines", type=int, default=20_000, help="of each talker")
    parser.add_argument("--chunk", type=int, default=500, help="lines in a request")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="lines a second in all; 0: no limit"
    )
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
