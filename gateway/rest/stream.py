"""Streams: log lines as text, NDJSON or SSE; events as SSE. All end when the gateway stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse

from gamepipe.model.record import AttemptKey, LogLine, StoredEvent
from gateway.view import EventView

T = TypeVar("T")

KEEP_ALIVE = ": still here\n\n"
KEEP_ALIVE_SECONDS = 5.0
"""A stream of SSE that is silent for longer looks dead to proxies, and to us a client that left."""


class LogFormat(StrEnum):
    TEXT = "text/plain"
    NDJSON = "application/x-ndjson"
    SSE = "text/event-stream"

    @classmethod
    def asked(cls, request: Request) -> "LogFormat":
        accepted = request.headers.get("accept", "")
        return next((one for one in (cls.SSE, cls.NDJSON) if one.value in accepted), cls.TEXT)


class Shutdown:
    """Set when the gateway stops; streams end with it, for clients that listen for ever."""

    def __init__(self, *, silence_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._event = asyncio.Event()
        self._silence_seconds = silence_seconds

    def set(self) -> None:
        self._event.set()

    async def guard(self, source: AsyncIterator[T]) -> AsyncIterator[T | None]:
        """The items of `source` until the shutdown; None whenever none came for a while."""
        stopped = asyncio.ensure_future(self._event.wait())
        step = asyncio.ensure_future(_next(source))
        try:
            while True:
                await asyncio.wait(
                    (step, stopped),
                    timeout=self._silence_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if step.done():
                    yield step.result()
                    step = asyncio.ensure_future(_next(source))
                elif stopped.done():
                    return
                else:
                    yield None
        except StopAsyncIteration:
            return
        finally:
            step.cancel()
            stopped.cancel()


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def begun(source: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same items, with the first one fetched already: an error before it is an answer, not a
    broken stream."""
    try:
        first = await anext(source)
    except StopAsyncIteration:
        return _empty()
    return _with_first(first, source)


async def _empty() -> AsyncIterator[Any]:
    return
    yield


async def _with_first(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for item in rest:
        yield item


def log_response(
    lines: AsyncIterator[tuple[AttemptKey, LogLine] | None],
    form: LogFormat,
    *,
    names: Sequence[str],
    file_name: str,
    download: bool,
) -> StreamingResponse:
    """`names` are those of the steps, by index; text carries lines alone. None: it is quiet."""

    def as_json(key: AttemptKey, line: LogLine) -> str:
        name = names[key.step_index] if key.step_index < len(names) else ""
        return _log_json(key, line, name)

    write: Callable[[AttemptKey, LogLine], str] = {
        LogFormat.TEXT: lambda _, line: line.text if line.continued else f"{line.text}\n",
        LogFormat.NDJSON: lambda key, line: f"{as_json(key, line)}\n",
        LogFormat.SSE: lambda key, line: f"event: log\ndata: {as_json(key, line)}\n\n",
    }[form]
    headers = {
        "X-Accel-Buffering": "no",
        "Cache-Control": "no-store",
        "Content-Disposition": f'{"attachment" if download else "inline"}; filename="{file_name}"',
    }
    quiet = KEEP_ALIVE if form is LogFormat.SSE else ""

    def as_text(line: tuple[AttemptKey, LogLine] | None) -> str:
        return quiet if line is None else write(*line)

    return StreamingResponse(
        (as_text(line).encode("utf-8", "replace") async for line in lines),
        media_type=f"{form.value}; charset=utf-8",
        headers=headers,
    )


def _log_json(key: AttemptKey, line: LogLine, step_name: str) -> str:
    facts = {
        "generation": key.generation,
        "step_index": key.step_index,
        "step_name": step_name,
        "attempt": key.attempt,
        "number": line.number,
        "at": line.at.isoformat(),
        "stream": line.stream.value,
        "text": line.text,
        "continued": line.continued,
    }
    return json.dumps(facts, ensure_ascii=False)


def event_response(events: AsyncIterator[StoredEvent | None]) -> StreamingResponse:
    return StreamingResponse(
        (_event_text(event) async for event in events),
        media_type="text/event-stream; charset=utf-8",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


def _event_text(event: StoredEvent | None) -> str:
    if event is None:
        return KEEP_ALIVE
    data = EventView.model_validate(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.kind.value}\ndata: {data}\n\n"


def wants_stream(request: Request) -> bool:
    return LogFormat.SSE.value in request.headers.get("accept", "")
