"""Work of many callers in one transaction: what comes while one runs shares the next, so the busier
it is, the more share one."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from gamepipe.model.errors import Unavailable

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
APART_SECONDS = 600.0
"""How long what failed by itself goes apart from the others."""
MOST_APART = 10_000
"""Whose keys are remembered; the one that failed the longest ago is forgotten."""


class GroupCommit(Generic[I, R]):
    """Calls `commit` with all that waits, in order, up to `at_once` items; one call at a time.

    One bad item costs nobody else's: what fails together is tried in halves, unless the database
    is away. One that failed by itself goes apart the next time, by its `key`: callers try again
    and again, and it would spoil a group each time. `report` hears of every item that failed by
    itself.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[I]], Awaitable[Sequence[R]]],
        *,
        at_once: int,
        report: Callable[[Exception], None] = lambda _: None,
        key: Callable[[I], Hashable] = lambda _: None,
    ) -> None:
        """`key`: what an item has in common with itself when it is tried again; None: nothing."""
        self._commit = commit
        self._at_once = at_once
        self._report = report
        self._key = key
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._apart: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._spoilers: OrderedDict[Hashable, float] = OrderedDict()
        """By key when it may go with the others again."""
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
        group: list[tuple[I, asyncio.Future[R]]] = []
        try:
            while self._waiting or self._apart:
                group = self._next()
                await self._try(group)
                if self._apart:  # between groups: neither holds the other up
                    group = [self._apart.popleft()]
                    await self._try(group)
        except BaseException:
            ended = Unavailable("the process ends: try again")
            _fail([*group, *self._waiting, *self._apart], ended)
            self._waiting.clear()
            self._apart.clear()
            raise

    def _next(self) -> "list[tuple[I, asyncio.Future[R]]]":
        """Those that may go together; the others are put apart."""
        group: list[tuple[I, asyncio.Future[R]]] = []
        while self._waiting and len(group) < self._at_once:
            one = self._waiting.popleft()
            (self._apart if self._spoils(one[0]) else group).append(one)
        return group

    async def _try(self, group: "list[tuple[I, asyncio.Future[R]]]") -> None:
        group = [(item, done) for item, done in group if not done.cancelled()]
        if not group:
            return
        try:
            results = await self._commit([item for item, _ in group])
        except Unavailable as error:
            _fail(group, error)
        except Exception as error:
            await self._try_less(group, error)
        else:
            self._settle(group, results)

    async def _try_less(self, group: "list[tuple[I, asyncio.Future[R]]]", error: Exception) -> None:
        middle = len(group) // 2
        if middle:
            await self._try(group[:middle])
            await self._try(group[middle:])
            return
        self._remember(group[0][0])
        _fail(group, error)
        self._report(error)

    def _settle(self, group: "list[tuple[I, asyncio.Future[R]]]", results: Sequence[R]) -> None:
        if len(results) != len(group):  # it is written: nothing of it may be tried again
            wrong = RuntimeError(f"{len(group)} items were answered with {len(results)} results")
            _fail(group, wrong)
            self._report(wrong)
            return
        if len(group) == 1:
            self._spoilers.pop(self._key(group[0][0]), None)
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)

    # --- who goes apart -------------------------------------------------------------------------

    def _remember(self, item: I) -> None:
        key = self._key(item)
        if key is None:
            return
        self._spoilers[key] = asyncio.get_running_loop().time() + APART_SECONDS
        self._spoilers.move_to_end(key)
        if len(self._spoilers) > MOST_APART:
            self._spoilers.popitem(last=False)

    def _spoils(self, item: I) -> bool:
        until = self._spoilers.get(self._key(item))
        return until is not None and until > asyncio.get_running_loop().time()


def _fail(group: "Iterable[tuple[I, asyncio.Future[R]]]", error: Exception) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(error)


def _seen(done: "asyncio.Future[R]") -> None:
    """Whoever asked may be gone."""
    if not done.cancelled():
        done.exception()
