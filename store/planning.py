"""The fleet as it is, for somebody who only asks."""

from datetime import datetime

from sqlmodel import Session

from gamepipe.model.record import QueueEntry
from gamepipe.scheduling.choose import RESERVED, Closed
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.policy import Policy
from gamepipe.scheduling.snapshot import Snapshot
from store.fleet import FleetCache
from store.known import LatencyCache


def present(session: Session, policy: Policy, *, now: datetime) -> Snapshot:
    """What a placement would be decided on now. It is the caller's own: who plans changes it."""
    fleet = FleetCache(policy, session.info[LatencyCache])
    fleet.catch_up(session, now)
    return fleet.chooser.snapshot


def kept_from(entry: QueueEntry, fleet: Fleet) -> Closed:
    """Rows that were kept for others when the queue was served last: reservations are not stored,
    but what whoever waits was told is."""
    return {
        fleet.row_of[verdict.node_id]: verdict.message
        for verdict in entry.verdicts
        if verdict.code == RESERVED and verdict.node_id in fleet.row_of
    }
