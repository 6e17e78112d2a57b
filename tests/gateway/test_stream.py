"""What a stream that is quiet sends, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from starlette.responses import StreamingResponse

from gamepipe.model.record import AttemptKey, LogLine, LogStream
from gateway.rest.stream import KEEP_ALIVE, LogFormat, Shutdown, event_response, log_response

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
LINE = LogLine(number=1, at=datetime(2026, 1, 1, tzinfo=UTC), stream=LogStream.STDOUT, text="up")


async def one_then_silence(until: asyncio.Event) -> AsyncIterator[tuple[AttemptKey, LogLine]]:
    yield KEY, LINE
    await until.wait()


def chunks_of(response: StreamingResponse) -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in response.body_iterator:
            yield chunk if isinstance(chunk, bytes) else bytes(str(chunk), "utf-8")

    return chunks()


@pytest.mark.parametrize(
    ("form", "quiet"),
    [(LogFormat.SSE, KEEP_ALIVE), (LogFormat.NDJSON, ""), (LogFormat.TEXT, "")],
)
async def test_followers_of_a_quiet_step_are_told_that_the_stream_lives(
    form: LogFormat, quiet: str
) -> None:
    ended, shutdown = asyncio.Event(), Shutdown(silence_seconds=0.01)
    lines = shutdown.guard(one_then_silence(ended))
    chunks = chunks_of(log_response(lines, form, names=["a"], file_name="p.log", download=False))
    assert b"up" in await anext(chunks)
    assert [await anext(chunks) for _ in range(2)] == [quiet.encode()] * 2
    ended.set()
    assert {chunk async for chunk in chunks} <= {quiet.encode()}


async def test_so_are_those_of_events() -> None:
    async def silence() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    shutdown = Shutdown(silence_seconds=0.01)
    chunks = chunks_of(event_response(shutdown.guard(silence())))
    assert await anext(chunks) == KEEP_ALIVE.encode()
    shutdown.set()
    assert {chunk async for chunk in chunks} <= {KEEP_ALIVE.encode()}


async def test_who_leaves_leaves_nothing_behind() -> None:
    left = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            left.set()

    guarded = Shutdown(silence_seconds=0.01).guard(source())
    assert [await anext(guarded), await anext(guarded)] == [1, None]
    await guarded.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(left.wait(), timeout=10)
