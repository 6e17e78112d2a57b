"""What agents say of their node: registration, streams, heartbeats, the state they act by."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hmac import compare_digest

from sqlalchemy import bindparam, update
from sqlmodel import col, select

from gamepipe.model.errors import Forbidden, LeaseLost, NotFound, SessionUnknown
from gamepipe.model.node import NodeMetrics
from gamepipe.model.record import EventKind
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.ports import MetricsReport, NodeSession, Registration
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
    row.registered_at = row.last_seen_at = now
    connectivity.change(tx, row, Connectivity.ONLINE, now=now)
    if not registration.nonce or registration.nonce != row.nonce:
        _issue_session(tx, row, registration, now=now)
    tx.session.flush()
    return row


def _issue_session(
    tx: Transaction, row: NodeRow, registration: Registration, *, now: datetime
) -> None:
    """What opened a stream under an older session is superseded."""
    row.session, row.agent_state = row.session + 1, ""
    row.session_key, row.nonce = registration.session_key, registration.nonce
    tx.add_event(
        NewEvent(
            kind=EventKind.NODE_REGISTERED, at=now, node_id=row.id, data={"session": row.session}
        )
    )


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


def open_stream(tx: Transaction, session: NodeSession, *, now: datetime) -> NodeRow:
    """See `NodeRepository.connect`."""
    row = tx.session.get(NodeRow, session.node_id, with_for_update=True)
    row = check_session(row, session)
    row.stream += 1
    row.last_seen_at = now
    tx.wake()
    return row


def check_session(row: NodeRow | None, session: NodeSession) -> NodeRow:
    """See `NodeRepository.check_session`."""
    node_id, number = session.node_id, session.number
    if row is None:
        raise NotFound("node", node_id)
    if number > row.session:
        raise SessionUnknown(
            f"session {number} of node {node_id} was never issued: register anew", node_id=node_id
        )
    if not session.key:
        raise Forbidden(
            "a session is spoken for with the `session_key` that Register returned", node_id=node_id
        )
    if number != row.session or not _is_key(row, session.key):
        raise LeaseLost(
            f"session {number} of node {node_id} is not its newest: {row.session} is",
            node_id=node_id,
            session=str(row.session),
        )
    return row


def _is_key(row: NodeRow, key: str) -> bool:
    return compare_digest(row.session_key.encode(), key.encode())


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


def beat(
    tx: Transaction, beats: Sequence[Beat], reports: Sequence[MetricsReport], *, now: datetime
) -> tuple[str, ...]:
    """See `NodeRepository.heartbeat`; rows are locked in one order. One statement for all: a fleet
    sends hundreds a second, and neither facts nor labels matter here."""
    nodes = {node_id for node_id, _, _ in beats} | {report.node_id for report in reports}
    sessions, metrics = _lock_metrics(tx, nodes)
    heard = {one[0]: one[2] for one in beats if sessions.get(one[0]) == one[1]}
    for node_id, sample in heard.items():
        metrics[node_id] = replace(sample, round_trips_ms=metrics[node_id].round_trips_ms)
    told = [report for report in reports if sessions.get(report.node_id) == report.session]
    for report in told:
        metrics[report.node_id] = _measured(metrics[report.node_id], report)
    aside = {report.node_id for report in told} - heard.keys()
    _write_metrics(tx, {node_id: metrics[node_id] for node_id in heard}, last_seen_at=now)
    _write_metrics(tx, {node_id: metrics[node_id] for node_id in aside})
    return tuple(sorted(nodes - heard.keys() - aside))


def _lock_metrics(
    tx: Transaction, node_ids: set[str]
) -> tuple[dict[str, int], dict[str, NodeMetrics]]:
    """The newest session and the metrics of each node that is known."""
    columns = select(NodeRow.id, NodeRow.session, col(NodeRow.metrics))
    wanted = columns.where(col(NodeRow.id).in_(sorted(node_ids))).order_by(col(NodeRow.id))
    rows = tx.session.exec(wanted.with_for_update()).all()
    return {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}


def _write_metrics(tx: Transaction, metrics: Mapping[str, NodeMetrics], **also: datetime) -> None:
    if not metrics:
        return
    written = (
        update(NodeRow)
        .where(col(NodeRow.id) == bindparam("node"))
        .values(metrics=bindparam("sample"), **also)
    )
    samples = [{"node": node_id, "sample": sample} for node_id, sample in metrics.items()]
    tx.session.connection().execute(written, samples)


def _measured(known: NodeMetrics, report: MetricsReport) -> NodeMetrics:
    trips = known.round_trips_ms if report.round_trips_ms is None else report.round_trips_ms
    return replace(report.metrics or known, round_trips_ms=trips)
