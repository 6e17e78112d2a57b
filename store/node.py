"""Game nodes, their stop orders, and the gateways that hear them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, delete, func, select

from gamepipe.model.errors import IllegalTransition, NotFound
from gamepipe.model.node import GameNode
from gamepipe.model.record import EventKind, StopOrder
from gamepipe.model.state import Connectivity, InstanceState, NodeState
from gamepipe.ports import (
    MetricsReport,
    NodeChange,
    NodeMark,
    NodeSession,
    Notice,
    Registration,
)
from store import capacity, connectivity
from store import registration as registering
from store.database import Database
from store.process import GatewayRow
from store.record import load_nodes, node_record, order_record
from store.table import InstanceRow, NodeRow, StopOrderRow
from store.transaction import NewEvent, Transaction


class NodeStore:
    """See `gamepipe.ports.NodeRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, registration: Registration, *, now: datetime) -> GameNode:
        def work(tx: Transaction) -> GameNode:
            row = registering.register(tx, registration, now=now)
            return _record(tx.session, row.id)

        return await self._database.write(work, placing=True)

    async def connect(self, session: NodeSession, *, now: datetime) -> GameNode:
        return await self._database.write(
            lambda tx: node_record(registering.open_stream(tx, session, now=now))
        )

    async def check_session(self, session: NodeSession) -> None:
        await self._database.read(
            lambda read: registering.check_session(read.get(NodeRow, session.node_id), session)
        )

    async def take_state(
        self, node_id: str, session: int, state: NodeState, *, now: datetime
    ) -> None:
        await self._database.write(
            lambda tx: registering.take_state(tx, node_id, session, state, now=now)
        )

    async def marks(self) -> dict[str, NodeMark]:
        return await self._database.read(_marks)

    async def heartbeat(
        self,
        beats: Sequence[registering.Beat],
        *,
        now: datetime,
        reports: Sequence[MetricsReport] = (),
    ) -> tuple[str, ...]:
        return await self._database.write(lambda tx: registering.beat(tx, beats, reports, now=now))

    async def get(self, node_id: str) -> GameNode:
        return await self._database.read(lambda session: _record(session, node_id))

    async def list(self) -> tuple[GameNode, ...]:
        return await self._database.read(lambda session: tuple(load_nodes(session)))

    async def update(self, node_id: str, change: NodeChange, *, now: datetime) -> GameNode:
        return await self._database.write(
            lambda tx: _update(tx, node_id, change, now=now), placing=True
        )

    async def mark(self, node_id: str, connectivity: Connectivity, *, now: datetime) -> GameNode:
        return await self._database.write(
            lambda tx: _mark(tx, node_id, connectivity, now=now), placing=True
        )

    async def stop_orders(self, node_id: str) -> tuple[StopOrder, ...]:
        query = (
            select(StopOrderRow)
            .where(StopOrderRow.node_id == node_id)
            .order_by(col(StopOrderRow.id))
        )
        return await self._database.read(
            lambda session: tuple(order_record(row) for row in session.exec(query))
        )

    async def confirm_stop(
        self, order_id: int, *, node_id: str, now: datetime
    ) -> tuple[Notice, ...]:
        return await self._database.write(
            lambda tx: _confirm_stop(tx, order_id, node_id, now=now), placing=True
        )

    async def gateway_beat(
        self,
        gateway_id: str,
        *,
        started_at: datetime,
        ttl: timedelta,
        now: datetime,
        reaches_temporal: bool = True,
    ) -> bool:
        def work(tx: Transaction) -> bool:
            row = tx.session.get(GatewayRow, gateway_id)
            if row is None:
                row = GatewayRow(id=gateway_id, started_at=started_at, beat_at=now)
                tx.session.add(row)
            if now - row.beat_at > ttl / 2:
                row.started_at = now
            row.beat_at, row.reaches_temporal = now, reaches_temporal
            return _another_reaches_temporal(tx.session, gateway_id, now - ttl / 2)

        return await self._database.write(work)

    async def forget_gateways(self, *, silent_since: datetime) -> None:
        old = delete(GatewayRow).where(col(GatewayRow.beat_at) < silent_since)
        await self._database.write(lambda tx: tx.session.connection().execute(old) and None)

    async def gateways(self) -> tuple[tuple[str, datetime, datetime], ...]:
        return await self._database.read(
            lambda session: tuple(
                (row.id, row.started_at, row.beat_at) for row in session.exec(select(GatewayRow))
            )
        )


def _another_reaches_temporal(session: Session, gateway_id: str, since: datetime) -> bool:
    others = select(func.count()).where(
        GatewayRow.id != gateway_id,
        GatewayRow.beat_at >= since,
        col(GatewayRow.reaches_temporal).is_(True),
    )
    return session.exec(others).one() > 0


def _row(session: Session, node_id: str) -> NodeRow:
    row = session.get(NodeRow, node_id)
    if row is None:
        raise NotFound("node", node_id)
    return row


def _record(session: Session, node_id: str) -> GameNode:
    row = _row(session, node_id)
    orders = select(func.count()).where(StopOrderRow.node_id == node_id)
    unaccounted = select(func.count()).where(
        InstanceRow.node_id == node_id, col(InstanceRow.unaccounted).is_(True)
    )
    return node_record(
        row,
        stop_orders=session.exec(orders).one(),
        unaccounted=session.exec(unaccounted).one(),
    )


def _marks(session: Session) -> dict[str, NodeMark]:
    counts = select(StopOrderRow.node_id, func.count()).group_by(col(StopOrderRow.node_id))
    orders = {node_id: count for node_id, count in session.exec(counts)}  # noqa: C416 - typed so
    columns = select(NodeRow.id, NodeRow.session, NodeRow.stream, NodeRow.state)
    return {
        node_id: NodeMark(
            session=number,
            stream=stream,
            state=NodeState(state),
            stop_orders=orders.get(node_id, 0),
        )
        for node_id, number, stream, state in session.exec(columns)
    }


def _update(tx: Transaction, node_id: str, change: NodeChange, *, now: datetime) -> GameNode:
    row = _row(tx.session, node_id)
    if change.alias is not None:
        row.alias = change.alias
    if change.labels is not None:
        row.labels, row.labels_set = change.labels, True
    if change.location is not None:
        row.location, row.location_set = change.location, True
    if change.state is not None and change.state.value != row.state:
        _set_state(tx, row, change.state, now=now)
        if change.state is not NodeState.NORMAL:
            capacity.withdraw_offers(tx, node_id, now=now)
    tx.session.flush()
    return _record(tx.session, node_id)


def _set_state(tx: Transaction, row: NodeRow, state: NodeState, *, now: datetime) -> None:
    if not NodeState(row.state).may_become(state):
        raise IllegalTransition(
            f"node {row.id!r} cannot go from {row.state} to {state}: set it to normal first",
            node_id=row.id,
        )
    previous, row.state = row.state, state.value
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_STATE_CHANGED,
            at=now,
            node_id=row.id,
            data={"previous": previous, "state": state.value},
        )
    )


def _mark(tx: Transaction, node_id: str, seen: Connectivity, *, now: datetime) -> GameNode:
    row = _row(tx.session, node_id)
    connectivity.change(tx, row, seen, now=now)
    if seen is Connectivity.LOST:
        connectivity.lose(tx, node_id, now=now)
    tx.session.flush()
    return _record(tx.session, node_id)


def _confirm_stop(
    tx: Transaction, order_id: int, node_id: str, *, now: datetime
) -> tuple[Notice, ...]:
    order = tx.session.get(StopOrderRow, order_id)
    if order is None or order.node_id != node_id:
        return ()
    tx.session.delete(order)
    live = select(InstanceRow).where(
        InstanceRow.pipeline_id == order.pipeline_id,
        InstanceRow.generation == order.generation,
        InstanceRow.node_id == order.node_id,
        col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES),
    )
    for instance in tx.session.exec(live).all():
        if order.step_index in (None, instance.step_index):
            capacity.change_instance(tx, instance, InstanceState.STOPPED, now=now)
    tx.session.flush()
    freed = capacity.release_ended(tx, order.pipeline_id, order.generation, now=now)
    return freed + capacity.offer_queue(tx, now=now)
