"""What agents say of their node: registration, streams, heartbeats, the state they act by."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, update
from sqlmodel import col, select

from gamepipe.model.errors import LeaseLost, NotFound
from gamepipe.model.node import NodeMetrics
from gamepipe.model.record import EventKind
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.ports import Registration
from store import connectivity
from store.table import NodeRow
from store.transaction import NewEvent, Transaction

Beat = tuple[str, int, NodeMetrics]


def register(tx: Transaction, registration: Registration, *, now: datetime) -> NodeRow:
    """Labels and location count as the agent declares them now, unless people set them."""
    row = tx.session.get(NodeRow, registration.node_id)
    if row is None:
        row = _new_row(registration, now=now)
        tx.session.add(row)
    row.facts, row.transport = registration.facts, registration.transport
    if not row.labels_set:
        row.labels = registration.labels
    if not row.location_set:
        row.location = registration.location
    row.session, row.agent_state = row.session + 1, ""
    row.registered_at = row.last_seen_at = now
    connectivity.change(tx, row, Connectivity.ONLINE, now=now)
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_REGISTERED, at=now, node_id=row.id, data={"session": row.session}
        )
    )
    tx.session.flush()
    return row


def _new_row(registration: Registration, *, now: datetime) -> NodeRow:
    return NodeRow(
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


def open_stream(tx: Transaction, node_id: str, session: int, *, now: datetime) -> NodeRow:
    """See `NodeRepository.connect`."""
    row = tx.session.get(NodeRow, node_id, with_for_update=True)
    if row is None:
        raise NotFound("node", node_id)
    if session > row.session:  # of a store that went back since, to a backup say
        raise NotFound("session", f"{session} of node {node_id}")
    if row.session != session:
        raise LeaseLost(
            f"session {session} of node {node_id} is not its newest: {row.session} is",
            node_id=node_id,
            session=str(row.session),
        )
    row.stream += 1
    row.last_seen_at = now
    tx.wake()
    return row


def take_state(
    tx: Transaction, node_id: str, session: int, state: NodeState, *, now: datetime
) -> None:
    """See `NodeRepository.take_state`."""
    row = tx.session.get(NodeRow, node_id, with_for_update=True)
    if row is None or row.session != session or row.agent_state == state.value:
        return
    row.agent_state = state.value
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_STATE_TAKEN, at=now, node_id=node_id, data={"state": state.value}
        )
    )


def beat(tx: Transaction, beats: Sequence[Beat], *, now: datetime) -> tuple[str, ...]:
    """See `NodeRepository.heartbeat`; rows are locked in one order. One statement for all: a fleet
    sends hundreds a second, and neither facts nor labels matter here."""
    wanted = {node_id: (session, metrics) for node_id, session, metrics in beats}
    columns = select(NodeRow.id, NodeRow.session).where(col(NodeRow.id).in_(sorted(wanted)))
    locked = columns.order_by(col(NodeRow.id)).with_for_update()
    known = [
        node_id for node_id, session in tx.session.exec(locked) if wanted[node_id][0] == session
    ]
    if known:
        written = (
            update(NodeRow)
            .where(col(NodeRow.id) == bindparam("node"))
            .values(metrics=bindparam("sample"), last_seen_at=now)
        )
        samples = [{"node": node_id, "sample": wanted[node_id][1]} for node_id in known]
        tx.session.connection().execute(written, samples)
    return tuple(sorted(wanted.keys() - set(known)))
