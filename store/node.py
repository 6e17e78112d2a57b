"""Game nodes, their stop orders, and the gateways that hear them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from gamepipe.model import reason as reasons
from gamepipe.model.errors import IllegalTransition, LeaseLost, NotFound
from gamepipe.model.node import GameNode, NodeMetrics
from gamepipe.model.record import EventKind, StopOrder
from gamepipe.model.state import Connectivity, InstanceState, NodeState
from gamepipe.ports import NodeChange, NodeMark, OfferMade, Registration
from store import capacity
from store.database import Database
from store.record import load_nodes, node_record, order_record
from store.table import GatewayRow, InstanceRow, NodeRow, StopOrderRow
from store.transaction import NewEvent, Transaction

Beat = tuple[str, int, NodeMetrics]


class NodeStore:
    """See `gamepipe.ports.NodeRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, registration: Registration, *, now: datetime) -> GameNode:
        return await self._database.write(
            lambda tx: _register(tx, registration, now=now), placing=True
        )

    async def connect(self, node_id: str, session: int, *, now: datetime) -> GameNode:
        return await self._database.write(lambda tx: _open_stream(tx, node_id, session, now=now))

    async def take_state(
        self, node_id: str, session: int, state: NodeState, *, now: datetime
    ) -> None:
        await self._database.write(lambda tx: _take_state(tx, node_id, session, state, now=now))

    async def marks(self) -> dict[str, NodeMark]:
        return await self._database.read(_marks)

    async def heartbeat(self, beats: Sequence[Beat], *, now: datetime) -> tuple[str, ...]:
        return await self._database.write(lambda tx: _heartbeat(tx, beats, now=now))

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

    async def confirm_stop(self, order_id: int, *, now: datetime) -> tuple[OfferMade, ...]:
        return await self._database.write(
            lambda tx: _confirm_stop(tx, order_id, now=now), placing=True
        )

    async def gateway_beat(
        self, gateway_id: str, *, started_at: datetime, ttl: timedelta, now: datetime
    ) -> None:
        def work(tx: Transaction) -> None:
            row = tx.session.get(GatewayRow, gateway_id)
            if row is None:
                tx.session.add(GatewayRow(id=gateway_id, started_at=started_at, beat_at=now))
                return
            if now - row.beat_at > ttl / 2:
                row.started_at = now
            row.beat_at = now

        await self._database.write(work)

    async def gateways(self) -> tuple[tuple[str, datetime, datetime], ...]:
        return await self._database.read(
            lambda session: tuple(
                (row.id, row.started_at, row.beat_at) for row in session.exec(select(GatewayRow))
            )
        )


def _row(session: Session, node_id: str) -> NodeRow:
    row = session.get(NodeRow, node_id)
    if row is None:
        raise NotFound("node", node_id)
    return row


def _record(session: Session, node_id: str) -> GameNode:
    row = _row(session, node_id)
    orders = select(func.count()).where(StopOrderRow.node_id == node_id)
    return node_record(row, stop_orders=session.exec(orders).one())


def _register(tx: Transaction, registration: Registration, *, now: datetime) -> GameNode:
    """Labels and location that people set stay; the agent's fill what nobody set."""
    row = tx.session.get(NodeRow, registration.node_id)
    if row is None:
        row = NodeRow(
            id=registration.node_id,
            facts=registration.facts,
            labels=registration.labels,
            location=registration.location,
            state=NodeState.NORMAL.value,
            connectivity=Connectivity.ONLINE.value,
            transport=registration.transport,
            registered_at=now,
            last_seen_at=now,
            metrics=NodeMetrics(),
        )
        tx.session.add(row)
    row.facts, row.transport = registration.facts, registration.transport
    row.session, row.agent_state = row.session + 1, ""
    row.registered_at = row.last_seen_at = now
    _connect(tx, row, Connectivity.ONLINE, now=now)
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_REGISTERED, at=now, node_id=row.id, data={"session": row.session}
        )
    )
    tx.session.flush()
    return _record(tx.session, row.id)


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


def _open_stream(tx: Transaction, node_id: str, session: int, *, now: datetime) -> GameNode:
    row = tx.session.get(NodeRow, node_id, with_for_update=True)
    if row is None:
        raise NotFound("node", node_id)
    if row.session != session:
        raise LeaseLost(
            f"session {session} of node {node_id} is not its newest: {row.session} is",
            node_id=node_id,
            session=str(row.session),
        )
    row.stream += 1
    row.last_seen_at = now
    tx.wake()
    return node_record(row)


def _take_state(
    tx: Transaction, node_id: str, session: int, state: NodeState, *, now: datetime
) -> None:
    row = tx.session.get(NodeRow, node_id, with_for_update=True)
    if row is None or row.session != session or row.agent_state == state.value:
        return
    row.agent_state = state.value
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_STATE_TAKEN, at=now, node_id=node_id, data={"state": state.value}
        )
    )


def _heartbeat(tx: Transaction, beats: Sequence[Beat], *, now: datetime) -> tuple[str, ...]:
    superseded = []
    for node_id, session, metrics in sorted(beats, key=lambda beat: beat[0]):
        row = tx.session.get(NodeRow, node_id, with_for_update=True)
        if row is None or row.session != session:
            superseded.append(node_id)
            continue
        row.metrics, row.last_seen_at = metrics, now
    return tuple(superseded)


def _update(tx: Transaction, node_id: str, change: NodeChange, *, now: datetime) -> GameNode:
    row = _row(tx.session, node_id)
    for name in ("alias", "labels", "location"):
        wanted = getattr(change, name)
        if wanted is not None:
            setattr(row, name, wanted)
    if change.state is not None and change.state.value != row.state:
        _set_state(tx, row, change.state, now=now)
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


def _connect(tx: Transaction, row: NodeRow, seen: Connectivity, *, now: datetime) -> None:
    if row.connectivity == seen.value:
        return
    previous, row.connectivity = row.connectivity, seen.value
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_CONNECTIVITY_CHANGED,
            at=now,
            node_id=row.id,
            data={"previous": previous, "connectivity": seen.value},
        )
    )


def _mark(tx: Transaction, node_id: str, seen: Connectivity, *, now: datetime) -> GameNode:
    row = _row(tx.session, node_id)
    _connect(tx, row, seen, now=now)
    if seen is Connectivity.LOST:
        _lose(tx, node_id, now=now)
    tx.session.flush()
    return _record(tx.session, node_id)


def _lose(tx: Transaction, node_id: str, *, now: datetime) -> None:
    """Instances are lost with their node, and nobody waits for its confirmations any more. The
    orders stay: a node that comes back carries them out first."""
    held = set()
    live = select(InstanceRow).where(
        InstanceRow.node_id == node_id, col(InstanceRow.state).not_in(capacity.TERMINAL_INSTANCES)
    )
    for instance in tx.session.exec(live).all():
        capacity.change_instance(
            tx,
            instance,
            InstanceState.LOST,
            now=now,
            reason=reasons.NODE_LOST,
            message=f"node {node_id} was lost",
        )
        held.add((instance.pipeline_id, instance.generation))
    orders = select(StopOrderRow).where(StopOrderRow.node_id == node_id)
    held |= {(order.pipeline_id, order.generation) for order in tx.session.exec(orders)}
    tx.session.flush()
    for pipeline_id, generation in sorted(held):
        capacity.release_ended(tx, pipeline_id, generation, now=now)


def _confirm_stop(tx: Transaction, order_id: int, *, now: datetime) -> tuple[OfferMade, ...]:
    order = tx.session.get(StopOrderRow, order_id)
    if order is None:
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
