"""Log lines: stored once whatever is sent again, read in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import tuple_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from gamepipe.logchunk import LogChunk, unpack
from gamepipe.model.errors import NotFound
from gamepipe.model.record import AttemptKey, LogLine
from gamepipe.model.state import PipelineState
from gamepipe.ports import LogQuery, LogStanding, LogTail
from store import log_tail
from store.database import Database
from store.log_tail import Tail
from store.search import matcher
from store.table import AllocationRow, LogChunkRow, PipelineRow
from store.transaction import Transaction

_log = structlog.get_logger()

CHUNKS_AT_ONCE = 32

Matches = Callable[[str], bool]
KeyedLine = tuple[AttemptKey, LogLine]
_ORDER = [
    col(getattr(LogChunkRow, name)) for name in ("generation", "step_index", "attempt", "first")
]


class LogStore:
    """See `gamepipe.ports.LogRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
        return await self._database.write(lambda tx: _append(tx, chunks))

    async def read(self, query: LogQuery) -> AsyncIterator[KeyedLine]:
        matches = matcher(query)
        if query.tail is not None:
            for pair in await self._database.read(lambda session: _tail(session, query, matches)):
                yield pair
            return
        position: tuple[int, ...] | None = None
        while True:
            chunks = await self._database.read(partial(_page, query=query, after=position))
            # Beside the loop, which others need: a search may pass over millions of lines.
            for pair in await asyncio.to_thread(_wanted, chunks, query, matches):
                yield pair
            if len(chunks) < CHUNKS_AT_ONCE:
                return
            position = _position(chunks[-1])

    async def tails(self, pipeline_id: str) -> dict[AttemptKey, LogTail]:
        return await self._database.read(lambda session: log_tail.read(session, pipeline_id))

    async def standing(self, pipeline_id: str) -> LogStanding:
        return await self._database.read(lambda session: _standing(session, pipeline_id))


def _standing(session: Session, pipeline_id: str) -> LogStanding:
    state = session.exec(select(PipelineRow.state).where(PipelineRow.id == pipeline_id)).first()
    if state is None:
        raise NotFound("pipeline", pipeline_id)
    return LogStanding(state=PipelineState(state), tails=log_tail.read(session, pipeline_id))


def _log_key(row: LogChunkRow) -> AttemptKey:
    return AttemptKey(
        pipeline_id=row.pipeline_id,
        generation=row.generation,
        step_index=row.step_index,
        attempt=row.attempt,
    )


def _append(tx: Transaction, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
    holders = _holders(tx, {chunk.key.pipeline_id for chunk in chunks})
    wanted = [_is_wanted(chunk, holders) for chunk in chunks]
    keys = {chunk.key for chunk, is_wanted in zip(chunks, wanted, strict=True) if is_wanted}
    tails, rows = log_tail.lock(tx, keys), list[dict[str, Any]]()
    stored = tuple(
        _take(chunk, tails.get(chunk.key) if is_wanted else None, rows)
        for chunk, is_wanted in zip(chunks, wanted, strict=True)
    )
    tx.insert_missing(LogChunkRow, rows)
    log_tail.write(tx, tails)
    tx.wake()
    return stored


def _take(chunk: LogChunk, tail: Tail | None, rows: list[dict[str, Any]]) -> int:
    """The last number that the sender of the chunk need not send again."""
    if tail is None or not tail.goes_on_with(chunk.series):  # nobody will read this
        return chunk.last
    known = tail.last - tail.base
    if chunk.first <= known + 1 <= chunk.last:
        new = chunk if chunk.first == known + 1 else chunk.behind(known)
        rows.append(_row(new, tail.base))
        tail.last = tail.base + new.last
    return tail.last - tail.base


def _holders(tx: Transaction, ids: set[str]) -> dict[str, dict[int, str]]:
    """The node of each placement of each pipeline that exists, which is held so that it stays;
    released placements, too: lines may come after the end."""
    query = (
        select(PipelineRow.id, AllocationRow.generation, AllocationRow.node_id)
        .join(AllocationRow, col(AllocationRow.pipeline_id) == col(PipelineRow.id), isouter=True)
        .where(col(PipelineRow.id).in_(ids))
        .with_for_update(read=True, key_share=True, of=PipelineRow)
    )
    holders = dict[str, dict[int, str]]()
    for pipeline_id, generation, node_id in tx.session.exec(query):
        holders.setdefault(pipeline_id, {})[generation] = node_id
    return holders


def _is_wanted(chunk: LogChunk, holders: Mapping[str, Mapping[int, str]]) -> bool:
    """Whether its pipeline exists, and gave the attempt to the node that sent it."""
    key = chunk.key
    if key.pipeline_id not in holders:
        return False
    if chunk.node_id in ("", holders[key.pipeline_id].get(key.generation)):
        return True
    _log.warning(
        "lines.refused",
        action="lines.refused",
        node_id=chunk.node_id,
        pipeline_id=key.pipeline_id,
        generation=key.generation,
    )
    return False


def _row(chunk: LogChunk, base: int) -> dict[str, Any]:
    return log_tail.key_columns(chunk.key) | {
        "first": base + chunk.first,
        "last": base + chunk.last,
        "last_at": chunk.last_at,
        "data": chunk.data,
    }


# --- reading -----------------------------------------------------------------------------------


def _select(query: LogQuery) -> SelectOfScalar[LogChunkRow]:
    rows = select(LogChunkRow).where(LogChunkRow.pipeline_id == query.pipeline_id)
    for name in ("generation", "step_index", "attempt"):
        wanted = getattr(query, name)
        if wanted is not None:
            rows = rows.where(getattr(LogChunkRow, name) == wanted)
    if query.after:
        rows = rows.where(col(LogChunkRow.last) > query.after)
    if query.since is not None:
        rows = rows.where(col(LogChunkRow.last_at) >= query.since)
    return rows


def _position(chunk: LogChunkRow) -> tuple[int, ...]:
    return chunk.generation, chunk.step_index, chunk.attempt, chunk.first


def _page(
    session: Session, query: LogQuery, after: tuple[int, ...] | None
) -> Sequence[LogChunkRow]:
    rows = _select(query)
    if after is not None:
        rows = rows.where(tuple_(*_ORDER) > tuple_(*after))
    return session.exec(rows.order_by(*_ORDER).limit(CHUNKS_AT_ONCE)).all()


def _wanted(chunks: Sequence[LogChunkRow], query: LogQuery, matches: Matches) -> list[KeyedLine]:
    return [
        (key, line)
        for chunk, key in ((chunk, _log_key(chunk)) for chunk in chunks)
        for line in unpack(chunk.first, chunk.data)
        if line.number > query.after
        and (query.since is None or line.at >= query.since)
        and matches(line.text)
    ]


def _tail(session: Session, query: LogQuery, matches: Matches) -> list[KeyedLine]:
    """The last lines that match, chunk by chunk from the end."""
    wanted, found = query.tail or 0, list[KeyedLine]()
    rows = _select(query).order_by(*(column.desc() for column in _ORDER))
    for chunk in session.exec(rows.execution_options(yield_per=CHUNKS_AT_ONCE)):
        if len(found) >= wanted:
            break
        found = _wanted([chunk], query, matches) + found
    return found[-wanted:] if wanted else []
