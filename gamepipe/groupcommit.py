"""Work of many callers in one transaction: what comes while one runs shares the next, so the busier
it is, the more share one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from gamepipe.model.errors import Unavailable

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class GroupCommit(Generic[I, R]):
    """Calls `commit` with all that waits, in order, up to `at_once` items; one call at a time.

    One bad item costs nobody else's: what fails together is tried apart, unless the database is
    away. `report` hears of every item that failed by itself.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[I]], Awaitable[Sequence[R]]],
        *,
        at_once: int,
        report: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._commit = commit
        self._at_once = at_once
        self._report = report
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._draining: asyncio.Task[None] | None = None

    def add(self, item: I) -> "asyncio.Future[R]":
        """Its own result once the transaction is through, or its own error. Nobody need wait."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_seen)
        self._waiting.append((item, done))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return done

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
        except Unavailable as error:
            _fail(group, error)
        except Exception as error:
            if len(group) > 1:
                for one in group:
                    await self._try([one])
                return
            self._report(error)
            _fail(group, error)
        else:
            for (_, done), result in zip(group, results, strict=True):
                if not done.done():
                    done.set_result(result)


def _fail(group: "list[tuple[I, asyncio.Future[R]]]", error: Exception) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(error)


def _seen(done: "asyncio.Future[R]") -> None:
    """Whoever asked may be gone."""
    if not done.cancelled():
        done.exception()
