"""Instances: services that outlive their pipeline."""

from datetime import datetime

from sqlmodel import Session, col, or_, select

from gamepipe.model.errors import NotFound
from gamepipe.model.record import Instance
from gamepipe.model.state import InstanceState
from gamepipe.ports import Notice
from store import capacity, connectivity
from store.database import Database
from store.record import instance_record
from store.table import InstanceRow
from store.transaction import Transaction


class InstanceStore:
    """See `gamepipe.ports.InstanceRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, instance_id: str) -> Instance:
        return instance_record(
            await self._database.read(lambda session: _row(session, instance_id))
        )

    async def list(
        self, *, node_id: str = "", pipeline_id: str = "", live_only: bool = False
    ) -> tuple[Instance, ...]:
        query = select(InstanceRow).order_by(col(InstanceRow.started_at), col(InstanceRow.id))
        if node_id:
            query = query.where(InstanceRow.node_id == node_id)
        if pipeline_id:
            query = query.where(InstanceRow.pipeline_id == pipeline_id)
        if live_only:
            query = query.where(col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES))
        return await self._database.read(
            lambda session: tuple(instance_record(row) for row in session.exec(query))
        )

    async def expected_on(self, node_id: str) -> tuple[Instance, ...]:
        is_expected = or_(
            col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES),
            col(InstanceRow.unaccounted).is_(True),
        )
        query = select(InstanceRow).where(InstanceRow.node_id == node_id, is_expected)
        return await self._database.read(
            lambda session: tuple(
                instance_record(row) for row in session.exec(query.order_by(col(InstanceRow.id)))
            )
        )

    async def observe(
        self,
        instance_id: str,
        state: InstanceState,
        *,
        now: datetime,
        exit_code: int | None = None,
        reason: str = "",
        message: str = "",
    ) -> tuple[Instance, tuple[Notice, ...]]:
        def work(tx: Transaction) -> tuple[Instance, tuple[Notice, ...]]:
            row = _row(tx.session, instance_id)
            if row.unaccounted and state is not InstanceState.STOPPING:  # that is our own word
                tx.hold_placement_lock()
                notices = connectivity.account(tx, row, state, now=now)
                return instance_record(row), notices
            if not InstanceState(row.state).may_become(state):
                return instance_record(row), ()  # the present state again, or after its end
            capacity.change_instance(
                tx, row, state, now=now, reason=reason, message=message, exit_code=exit_code
            )
            tx.session.flush()
            return instance_record(row), _let_go(tx, row, now=now) if state.is_terminal else ()

        return await self._database.write(work, placing=state.is_terminal)


def _let_go(tx: Transaction, row: InstanceRow, *, now: datetime) -> tuple[Notice, ...]:
    capacity.order_tidying(tx, row.pipeline_id, row.generation, now=now)
    return capacity.release_ended(tx, row.pipeline_id, row.generation, now=now)


def _row(session: Session, instance_id: str) -> InstanceRow:
    row = session.get(InstanceRow, instance_id)
    if row is None:
        raise NotFound("instance", instance_id)
    return row
