"""Log lines: stored once whatever is sent again, read in order."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import tuple_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from gamepipe.logchunk import LogChunk, unpack
from gamepipe.model.record import AttemptKey, LogLine
from gamepipe.ports import LogQuery, LogTail
from store.database import Database
from store.search import matcher
from store.table import AllocationRow, LogChunkRow, LogTailRow, PipelineRow
from store.transaction import Transaction

_log = structlog.get_logger()

CHUNKS_AT_ONCE = 32

_KEY = ("pipeline_id", "generation", "step_index", "attempt")
_NO_LINES = {"last": 0, "base": 0, "series": "", "earlier_series": ""}

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
            for chunk in chunks:
                for pair in _wanted(chunk, query, matches):
                    yield pair
            if len(chunks) < CHUNKS_AT_ONCE:
                return
            position = _position(chunks[-1])

    async def tails(self, pipeline_id: str) -> dict[AttemptKey, LogTail]:
        query = select(LogTailRow).where(LogTailRow.pipeline_id == pipeline_id)
        rows = await self._database.read(lambda session: session.exec(query).all())
        tails = {_log_key(row): LogTail(last=row.last, base=row.base) for row in rows}
        return dict(sorted(tails.items(), key=lambda pair: _key(pair[0])))


def _key(key: AttemptKey) -> tuple[str, int, int, int]:
    return key.pipeline_id, key.generation, key.step_index, key.attempt


def _log_key(row: LogChunkRow | LogTailRow) -> AttemptKey:
    return AttemptKey(
        pipeline_id=row.pipeline_id,
        generation=row.generation,
        step_index=row.step_index,
        attempt=row.attempt,
    )


def _key_columns(key: AttemptKey) -> dict[str, Any]:
    return dict(zip(_KEY, _key(key), strict=True))


def _append(tx: Transaction, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
    holders = _holders(tx, chunks)
    wanted = [_is_from_holder(chunk, holders) for chunk in chunks]
    keys = {chunk.key for chunk, is_wanted in zip(chunks, wanted, strict=True) if is_wanted}
    tails, rows = _lock_tails(tx, keys), list[dict[str, Any]]()
    stored = tuple(
        _take(chunk, tails.get(chunk.key) if is_wanted else None, rows)
        for chunk, is_wanted in zip(chunks, wanted, strict=True)
    )
    tx.insert_missing(LogChunkRow, rows)
    tx.wake()
    return stored


def _take(chunk: LogChunk, tail: LogTailRow | None, rows: list[dict[str, Any]]) -> int:
    """The last number that the sender of the chunk need not send again."""
    if tail is None or not _is_current(tail, chunk.series):  # nobody will read this
        return chunk.last
    known = tail.last - tail.base
    if chunk.first <= known + 1 <= chunk.last:
        new = chunk if chunk.first == known + 1 else chunk.behind(known)
        rows.append(_row(new, tail.base))
        tail.last = tail.base + new.last
    return tail.last - tail.base


def _holders(tx: Transaction, chunks: Sequence[LogChunk]) -> dict[tuple[str, int], str]:
    """The node of each placement, released ones too: lines may come after the end."""
    ids = {chunk.key.pipeline_id for chunk in chunks if chunk.node_id}
    columns = AllocationRow.pipeline_id, AllocationRow.generation, AllocationRow.node_id
    rows = tx.session.exec(select(*columns).where(col(AllocationRow.pipeline_id).in_(ids)))
    return {(pipeline_id, generation): node_id for pipeline_id, generation, node_id in rows}


def _is_from_holder(chunk: LogChunk, holders: Mapping[tuple[str, int], str]) -> bool:
    """Whether it is of an attempt that the node which sent it was given."""
    if not chunk.node_id:
        return True
    placed = chunk.key.pipeline_id, chunk.key.generation
    if holders.get(placed) == chunk.node_id:
        return True
    _log.warning(
        "lines.refused",
        action="lines.refused",
        node_id=chunk.node_id,
        pipeline_id=chunk.key.pipeline_id,
        generation=chunk.key.generation,
    )
    return False


def _is_current(tail: LogTailRow, series: str) -> bool:
    """False for a late resend of an earlier series; a new one begins behind what is stored."""
    if series == tail.earlier_series and tail.series:
        return False
    if series != tail.series:
        tail.earlier_series, tail.series, tail.base = tail.series, series, tail.last
    return True


def _lock_tails(tx: Transaction, keys: set[AttemptKey]) -> dict[AttemptKey, LogTailRow]:
    """The tails of attempts whose pipeline exists, locked in one order."""
    ids = {key.pipeline_id for key in keys}
    query = (
        select(PipelineRow.id)
        .where(col(PipelineRow.id).in_(ids))
        .with_for_update(read=True, key_share=True)
    )
    there = set(tx.session.exec(query))
    known = {key for key in keys if key.pipeline_id in there}
    tails = _tails_of(tx, known)
    if missing := sorted(known - tails.keys(), key=_key):
        tx.insert_missing(LogTailRow, [_key_columns(key) | _NO_LINES for key in missing])
        tails |= _tails_of(tx, set(missing))
    return tails


def _tails_of(tx: Transaction, keys: set[AttemptKey]) -> dict[AttemptKey, LogTailRow]:
    """Those that are there, locked; one statement, for lines come from many attempts at once."""
    columns = [col(getattr(LogTailRow, name)) for name in _KEY]
    query = (
        select(LogTailRow)
        .where(tuple_(*columns).in_([_key(key) for key in keys]))
        .order_by(*columns)
        .with_for_update()
    )
    return {_log_key(row): row for row in tx.session.exec(query)} if keys else {}


def _row(chunk: LogChunk, base: int) -> dict[str, Any]:
    return _key_columns(chunk.key) | {
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


def _wanted(chunk: LogChunkRow, query: LogQuery, matches: Matches) -> list[KeyedLine]:
    key = _log_key(chunk)
    return [
        (key, line)
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
        found = _wanted(chunk, query, matches) + found
    return found[-wanted:] if wanted else []
