"""Removing pipelines with all that hangs on them; their events stay."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import col, delete, select

from gamepipe.model.errors import IllegalTransition
from gamepipe.model.record import EventKind
from gamepipe.ports import Notice
from store import capacity
from store.table import InstanceRow, PipelineRow
from store.transaction import NewEvent, Transaction


def delete_one(
    tx: Transaction, row: PipelineRow, *, force: bool, now: datetime
) -> tuple[Notice, ...]:
    """See `PipelineRepository.delete`."""
    if row.state not in capacity.TERMINAL_PIPELINES and not force:
        raise IllegalTransition(
            f"pipeline {row.id!r} is {row.state}: cancel it first, or delete it with force",
            pipeline_id=row.id,
            state=row.state,
        )
    if row.id in _with_live_instance(tx, [row.id]):
        raise IllegalTransition(
            f"pipeline {row.id!r} left an instance running: stop it first (`gamepipe instances`), "
            "or delete the pipeline with force",
            pipeline_id=row.id,
        )
    notices = capacity.let_go(tx, row.id, now=now)
    _remove(tx, [row.id], now=now)
    return notices


def clean_up(tx: Transaction, ended_before: datetime, limit: int, *, now: datetime) -> int:
    """See `PipelineRepository.cleanup`."""
    live = select(InstanceRow.pipeline_id).where(
        col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES)
    )
    query = (
        select(PipelineRow.id)
        .where(
            col(PipelineRow.state).in_(capacity.TERMINAL_PIPELINES),
            col(PipelineRow.ended_at) < ended_before,
            col(PipelineRow.id).not_in(live),
        )
        .order_by(col(PipelineRow.ended_at))
        .limit(limit)
    )
    ids = tx.session.exec(query).all()
    _remove(tx, ids, now=now)
    return len(ids)


def _with_live_instance(tx: Transaction, ids: Sequence[str]) -> set[str]:
    query = select(InstanceRow.pipeline_id).where(
        col(InstanceRow.pipeline_id).in_(ids),
        col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES),
    )
    return set(tx.session.exec(query))


def _remove(tx: Transaction, ids: Sequence[str], *, now: datetime) -> None:
    _order_stops(tx, ids, now=now)
    if ids:
        tx.fleet_revision()  # what they still held goes with them
    connection = tx.session.connection()
    connection.execute(delete(InstanceRow).where(col(InstanceRow.pipeline_id).in_(ids)))
    connection.execute(delete(PipelineRow).where(col(PipelineRow.id).in_(ids)))
    for pipeline_id in ids:
        tx.add_event(NewEvent(kind=EventKind.PIPELINE_DELETED, at=now, pipeline_id=pipeline_id))


def _order_stops(tx: Transaction, ids: Sequence[str], *, now: datetime) -> None:
    """Games that may run on out of sight: nobody will want them when their node comes back."""
    lost = select(InstanceRow).where(
        col(InstanceRow.pipeline_id).in_(ids), col(InstanceRow.unaccounted).is_(True)
    )
    for row in tx.session.exec(lost):
        if not capacity.stop_is_ordered(tx, row.pipeline_id, row.generation):
            capacity.order_stop(tx, row.node_id, row.pipeline_id, row.generation, now=now)
    tx.session.flush()
