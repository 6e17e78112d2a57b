"""Waiting for a container's end, and bringing it about: TERM, after the grace KILL."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gamepipe.agent.container_engine import ContainerEngine, EngineRefused, EngineUnavailable
from gamepipe.agent.container_facts import ContainerFacts
from gamepipe.agent.runtime import StopRequest

_T = TypeVar("_T")
RETRY_SECONDS = 0.5
"""Between two tries to reach an engine that went away."""
_KILL_AGAIN_SECONDS = 5.0


async def patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call again until the engine answers: it restarts, and what it runs is still there."""
    while True:
        try:
            return await call()
        except EngineUnavailable:
            await asyncio.sleep(RETRY_SECONDS)


async def wait_until_ended(engine: ContainerEngine, container: str) -> ContainerFacts | None:
    """The container once it does not run; None when it is gone. Outlives restarts of the engine."""
    while True:
        facts = await patiently(lambda: engine.inspect(container))
        if facts is None or not facts.is_running:
            return facts
        try:
            await engine.call("POST", f"containers/{container}/wait", condition="not-running")
        except (EngineUnavailable, EngineRefused):
            await asyncio.sleep(RETRY_SECONDS)


async def stop_container(
    engine: ContainerEngine, container: str, stop: StopRequest
) -> ContainerFacts | None:
    """Stop it and return its end; None when it is gone.

    `stop` is a set request; its grace may be shortened meanwhile. Raises `EngineUnavailable` only
    when the engine does not answer at the beginning.
    """
    facts = await engine.inspect(container)
    if facts is None or not facts.is_running:
        return facts
    if facts.is_paused:
        await patiently(lambda: engine.unpause(container))
    ended = asyncio.create_task(wait_until_ended(engine, container))
    try:
        if stop.grace_seconds > 0:
            await _signal(engine, container, facts.stop_signal)
            await _grant_grace(stop, ended)
        while not ended.done():
            await _signal(engine, container, "SIGKILL")
            await asyncio.wait((ended,), timeout=_KILL_AGAIN_SECONDS)
        return ended.result()
    finally:
        ended.cancel()


async def _signal(engine: ContainerEngine, container: str, signal: str) -> None:
    """A signal that the engine failed to deliver is sent again by the caller's loop, or by KILL."""
    try:
        await patiently(lambda: engine.signal(container, signal))
    except EngineRefused:
        await asyncio.sleep(RETRY_SECONDS)


async def _grant_grace(stop: StopRequest, ended: "asyncio.Task[ContainerFacts | None]") -> None:
    """Wait for the end, at most the grace, which counts from now even when it is shortened."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not ended.done() and (left := begun + stop.grace_seconds - loop.time()) > 0:
        shortened = asyncio.create_task(stop.wait_shortened())
        await asyncio.wait((ended, shortened), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        shortened.cancel()
