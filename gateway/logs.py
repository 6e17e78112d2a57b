"""Reading logs: history first, then live, no gap and no line twice at the seam."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.record import AttemptKey, LogLine, PipelineRecord, StepRecord
from gamepipe.ports import LogQuery, LogTail, Store
from store.search import matcher

POLL_SECONDS = 5.0
STRAGGLER_SECONDS = 10.0
"""How long the lines of an ended pipeline may still be on their way from its node."""

MOST_TAIL = 100_000
"""Lines, which are read at once."""
LONGEST_SEARCH = 1000
"""Characters."""

Line = tuple[AttemptKey, LogLine]


def checked(query: LogQuery) -> LogQuery:
    """The query, before anything of its answer is on its way. Raises `InvalidRequest`."""
    if query.tail is not None and query.tail > MOST_TAIL:
        raise InvalidRequest(f"`tail` is at most {MOST_TAIL} lines: leave it out for all of them")
    if len(query.search) > LONGEST_SEARCH:
        raise InvalidRequest(f"`search` has at most {LONGEST_SEARCH} characters")
    matcher(query)
    return query


class LogReader:
    """Reads stored lines; follows a live pipeline until its last line."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, query: LogQuery) -> AsyncIterator[Line]:
        """What is stored now. Raises `NotFound` before the first line."""
        await self._store.pipelines.get(query.pipeline_id)
        async for line in self._store.logs.read(query):
            yield line

    async def follow(self, query: LogQuery) -> AsyncIterator[Line]:
        """History, then every line as it comes; ends behind the last line of an ended pipeline."""
        await self._store.pipelines.get(query.pipeline_id)
        wakeup = self._store.wakeup()
        # What `tail` leaves out was there before we looked; anything later is live.
        seen = {} if query.tail is None else await self._last_numbers(query.pipeline_id)
        async for key, line in self._store.logs.read(query):
            seen[key] = max(seen.get(key, 0), line.number)
            yield key, line
        patience = Patience()
        while True:
            now = await self._store.logs.standing(query.pipeline_id)
            for key, tail in now.tails.items():
                if tail.last > seen.get(key, query.after) and _is_wanted(key, query):
                    async for line in self._rest(query, key, seen.get(key, query.after)):
                        seen[key] = line.number  # it may be newer than the tail
                        yield key, line
                    seen[key] = max(seen.get(key, 0), tail.last)  # none may have matched
            if now.state.is_terminal and (
                await self._is_whole(query, now.tails) or patience.is_over()
            ):
                return
            await wakeup.wait(timeout_seconds=POLL_SECONDS)

    async def _is_whole(self, query: LogQuery, tails: dict[AttemptKey, LogTail]) -> bool:
        """Of an ended pipeline."""
        return _is_whole(await self._store.pipelines.get(query.pipeline_id), tails)

    async def _last_numbers(self, pipeline_id: str) -> dict[AttemptKey, int]:
        tails = await self._store.logs.tails(pipeline_id)
        return {key: tail.last for key, tail in tails.items()}

    async def _rest(self, query: LogQuery, key: AttemptKey, after: int) -> AsyncIterator[LogLine]:
        rest = replace(
            query,
            generation=key.generation,
            step_index=key.step_index,
            attempt=key.attempt,
            after=after,
            tail=None,
        )
        async for _, line in self._store.logs.read(rest):
            yield line


class Patience:
    """Counts from the first look at an ended pipeline whose lines are not all here."""

    def __init__(self) -> None:
        self._deadline: float | None = None

    def is_over(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + STRAGGLER_SECONDS
        return now >= self._deadline


def _is_wanted(key: AttemptKey, query: LogQuery) -> bool:
    return (
        query.generation in (None, key.generation)
        and query.step_index in (None, key.step_index)
        and query.attempt in (None, key.attempt)
    )


def _is_whole(record: PipelineRecord, tails: dict[AttemptKey, LogTail]) -> bool:
    """Whether every line that the ended steps wrote is stored."""
    return all(_lines_of(record.id, step, tails) >= step.log_lines for step in record.steps)


def _lines_of(pipeline_id: str, step: StepRecord, tails: dict[AttemptKey, LogTail]) -> int:
    """Stored lines of the step's last run."""
    key = AttemptKey(
        pipeline_id=pipeline_id,
        generation=step.generation,
        step_index=step.index,
        attempt=step.attempt,
    )
    tail = tails.get(key, LogTail(last=0))
    return tail.last - tail.base
