"""Waiting for a condition with a deadline: for facts that no event announces."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], T | Awaitable[T]], *, seconds: float = 60.0, what: str = ""
) -> T:
    """The first truthy answer of `probe`; fails with what it saw last."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = probe()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer  # type: ignore[return-value]
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or probe}; last saw {answer!r}")
        await asyncio.sleep(0.02)
