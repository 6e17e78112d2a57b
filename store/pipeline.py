"""Pipelines: the rows that people ask for, and what each change carries with it."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlmodel import Session

from gamepipe.model.errors import NotFound
from gamepipe.model.record import GenerationRecord, NewPipeline, PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice, PipelineChange, PipelineFilter, PipelinePage
from gamepipe.wire import SaveAck, SaveRequest
from store import adding, capacity, changing, listing, removing, verdict
from store.database import Database
from store.record import load_pipelines
from store.saving import save
from store.table import PipelineRow
from store.transaction import Transaction
from store.value import step_values

_log = structlog.get_logger()


class PipelineStore:
    """See `gamepipe.ports.PipelineRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: NewPipeline, *, now: datetime) -> tuple[PipelineRecord, bool]:
        return await self._database.write(lambda tx: adding.add(tx, new, now=now))

    async def get(self, pipeline_id: str) -> PipelineRecord:
        return await self._database.read(lambda session: _get(session, pipeline_id))

    async def list(self, query: PipelineFilter) -> PipelinePage:
        return await self._database.read(lambda session: listing.find(session, query))

    async def generations(self, pipeline_id: str) -> tuple[GenerationRecord, ...]:
        return await self._database.read(lambda session: listing.generations(session, pipeline_id))

    async def update(
        self, pipeline_id: str, change: PipelineChange, *, now: datetime
    ) -> tuple[PipelineRecord, tuple[Notice, ...]]:
        def work(tx: Transaction) -> tuple[PipelineRecord, tuple[Notice, ...]]:
            row = _locked(tx, pipeline_id)
            notices = changing.change(tx, row, change, now=now)
            return _record(tx.session, row), notices

        return await self._database.write(work, placing=True)

    async def update_status(
        self,
        pipeline_id: str,
        state: PipelineState,
        *,
        reason: str,
        message: str,
        now: datetime,
        run_id: str | None = None,
    ) -> tuple[PipelineRecord, tuple[Notice, ...]]:
        def work(tx: Transaction) -> tuple[PipelineRecord, tuple[Notice, ...]]:
            row = _locked(tx, pipeline_id)
            notices = verdict.pronounce(
                tx, row, state, reason=reason, message=message, now=now, run_id=run_id
            )
            return _record(tx.session, row), notices

        return await self._database.write(work, placing=True)

    async def save(
        self, request: SaveRequest, *, now: datetime
    ) -> tuple[SaveAck, tuple[Notice, ...]]:
        return await self._database.write(
            lambda tx: save(tx, request, now=now), placing=request.release
        )

    async def take_over(self, pipeline_id: str, *, run_id: str, now: datetime) -> None:
        def work(tx: Transaction) -> None:
            row = tx.lock_pipeline(pipeline_id)
            if row is None or row.state in capacity.TERMINAL_PIPELINES:
                return
            if row.run_id != run_id:  # it may have done so itself, and saved since
                row.run_id, row.revision, row.updated_at = run_id, 0, now

        await self._database.write(work)

    async def mark_started(self, pipeline_id: str, *, run_id: str) -> None:
        def work(tx: Transaction) -> None:
            row = tx.lock_pipeline(pipeline_id)
            if row is not None and not row.run_id:
                row.run_id = run_id

        await self._database.write(work)

    async def list_live(self) -> tuple[PipelineRecord, ...]:
        try:
            return await self._database.read(listing.live)
        except ValueError:  # one row that cannot be read
            return await self._readable(await self._database.read(listing.live_ids))

    async def _readable(self, ids: Sequence[str]) -> tuple[PipelineRecord, ...]:
        found = []
        for pipeline_id in ids:
            try:
                found.append(await self.get(pipeline_id))
            except NotFound:
                continue
            except ValueError as error:
                _log.error(
                    "store.row_unreadable",
                    action="store.row_unreadable",
                    pipeline_id=pipeline_id,
                    error=type(error).__name__,
                )
        return tuple(found)

    async def delete(
        self, pipeline_id: str, *, force: bool = False, incarnation: str = "", now: datetime
    ) -> tuple[Notice, ...]:
        def work(tx: Transaction) -> tuple[Notice, ...]:
            row = _locked(tx, pipeline_id)
            if incarnation not in ("", row.incarnation):
                raise NotFound("pipeline", pipeline_id)
            return removing.delete_one(tx, row, force=force, now=now)

        return await self._database.write(work, placing=True)

    async def cleanup(self, *, ended_before: datetime, limit: int, now: datetime) -> int:
        return await self._database.write(
            lambda tx: removing.clean_up(tx, ended_before, limit, now=now), placing=True
        )

    async def step_values(
        self, pipeline_id: str, *, generation: int, step_index: int, attempt: int, node_id: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        return await self._database.read(
            lambda session: step_values(
                session,
                _get_row(session, pipeline_id),
                (generation, step_index, attempt),
                node_id,
            )
        )


def _get_row(session: Session, pipeline_id: str) -> PipelineRow:
    row = session.get(PipelineRow, pipeline_id)
    if row is None:
        raise NotFound("pipeline", pipeline_id)
    return row


def _get(session: Session, pipeline_id: str) -> PipelineRecord:
    return load_pipelines(session, [_get_row(session, pipeline_id)])[0]


def _record(session: Session, row: PipelineRow) -> PipelineRecord:
    session.flush()
    return load_pipelines(session, [row])[0]


def _locked(tx: Transaction, pipeline_id: str) -> PipelineRow:
    row = tx.lock_pipeline(pipeline_id)
    if row is None:
        raise NotFound("pipeline", pipeline_id)
    return row
