"""Work of many callers in one transaction: what comes while one runs shares the next, so the busier
it is, the more share one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class GroupCommit(Generic[I, R]):
    """Calls `commit` with all that waits, in order, up to `at_once` items; one call at a time."""

    def __init__(
        self, commit: Callable[[Sequence[I]], Awaitable[Sequence[R]]], *, at_once: int
    ) -> None:
        self._commit = commit
        self._at_once = at_once
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def add(self, item: I) -> R:
        """Its own result, or its own error: one bad item costs nobody else's."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await done

    async def _drain(self) -> None:
        while self._waiting:
            count = min(self._at_once, len(self._waiting))
            await self._try([self._waiting.popleft() for _ in range(count)])

    async def _try(self, group: "list[tuple[I, asyncio.Future[R]]]") -> None:
        group = [(item, done) for item, done in group if not done.cancelled()]
        if not group:
            return
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as error:
            if len(group) > 1:
                for one in group:
                    await self._try([one])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
