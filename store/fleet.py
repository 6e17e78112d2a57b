"""The fleet in memory, so that a placement does not read every node anew.

Each row that a placement depends on carries the number of the transaction that changed it last; the
numbers come from one row, `fleet_clock`, under the placement lock, so they are in the order of the
commits. Whoever holds that lock needs to read only what has a higher number than what it knows.
Rows that were deleted show in the number of live allocations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import update
from sqlalchemy.orm import defer
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from gamepipe.model.node import GameNode
from gamepipe.model.state import PipelineState
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.distance import Spot
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.mix import Mix
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.place import regions_of
from gamepipe.scheduling.policy import Capacity, Policy
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import Numbers
from gamepipe.uncollected import set_aside
from store.known import LatencyCache
from store.process import FleetClockRow
from store.record import allocation_record, load_nodes
from store.table import AllocationRow, NodeRow, PipelineRow

RECENT = 1_000
"""Allocations that a process learns the mix of the work from when it starts."""
LARGE = 1_000
"""Nodes of a fleet that collections should not look at again and again; if more than that many are
others now, all is read anew."""
OBSERVE_EVERY = timedelta(seconds=5)
"""How old measured load and failures may be."""
FAILURE_HALF_LIFE = timedelta(minutes=15)
FAILURES_KEPT = 4 * FAILURE_HALF_LIFE
_CLOCK = col(FleetClockRow.value)
_READ_CLOCK = select(FleetClockRow.value).where(FleetClockRow.id == 1)
_TICK = (
    update(FleetClockRow)
    .where(col(FleetClockRow.id) == 1)
    .values(value=_CLOCK + 1)
    .returning(_CLOCK)
)


def next_revision(session: Session) -> int:
    """The number of this transaction, which holds the placement lock."""
    return int(session.connection().execute(_TICK).scalar_one())


def load_fleet(session: Session, capacity: Capacity) -> Fleet:
    """The whole fleet, from the rows."""
    live = session.exec(_allocations().where(col(AllocationRow.released_at).is_(None)))
    held = [allocation_record(row) for row in live]
    return Fleet(load_nodes(session), held, capacity=capacity)


def _allocations() -> SelectOfScalar[AllocationRow]:
    """Without how each was chosen, which is the most of a row and decides nothing."""
    unread = defer(AllocationRow.explanation)  # type: ignore[arg-type]  # SQLModel's types lack it
    return select(AllocationRow).options(unread)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Committed:
    """What was known before a transaction changed it."""

    fleet: Fleet
    known: int
    observed_at: datetime | None
    middles: Mapping[str, Spot]


class FleetCache:
    """One process's copy. Only who holds the placement lock may touch that which is placed on; a
    process has another one, which is `lent` to those who only ask."""

    def __init__(self, policy: Policy, latencies: LatencyCache) -> None:
        self._policy = policy
        self._latencies = latencies
        self._middles: Mapping[str, Spot] = {}
        """Where regions are of which nobody said it."""
        self._mix = Mix()
        self._known = -1
        self._chooser: Chooser | None = None
        self._observed_at: datetime | None = None
        self._learned_at: datetime | None = None
        """If it hears of no request."""
        self._committed: _Committed | None = None
        """None: what is here was never committed."""

    @property
    def chooser(self) -> Chooser:
        """Decides over the fleet; who places something holds it on the chooser's fleet, too."""
        assert self._chooser is not None  # noqa: S101 - `catch_up` comes first
        return self._chooser

    def catch_up(self, session: Session, now: datetime) -> None:
        """See the fleet as the transaction does."""
        value = session.exec(_READ_CLOCK).one()
        if self._chooser is None:
            self._load(session)
        elif value != self._known:
            self._catch_up(session, now)
        self._known = value
        self._observe(session, now)
        latencies = self._latencies.known(session, self._middles, now=now)
        if latencies is not self.chooser.snapshot.latencies:
            self._renew(latencies=latencies)

    @contextmanager
    def lent(self, session: Session, now: datetime) -> Iterator[Chooser]:
        """To one who only asks: nothing stays of what becomes of the fleet. No lock is needed, but
        one may have it at a time; it hears of no request, so the mix of work is that of late."""
        try:
            self.catch_up(session, now)
            if self._learned_at is None or abs(now - self._learned_at) >= OBSERVE_EVERY:
                self._learned_at, self._mix = now, Mix()
                self._learn_from_recent(session)
                if not self._mix.profile.says_as(self.chooser.snapshot.profile):
                    self._renew(profile=self._mix.profile)
            self.mark()
            yield self.chooser
        finally:
            self.go_back()

    def learn(self, need: Need) -> None:
        """One more request: from now on it counts in the mix of the work."""
        self._mix.learn(need.resources)
        if self._mix.profile is not self.chooser.snapshot.profile:
            self._renew(profile=self._mix.profile)

    def mark(self) -> None:
        """All that is known by now was committed; what a transaction does to it may be undone."""
        if self._chooser is not None:
            fleet = self._chooser.snapshot.fleet
            fleet.mark()
            self._committed = _Committed(
                fleet=fleet,
                known=self._known,
                observed_at=self._observed_at,
                middles=self._middles,
            )

    def go_back(self) -> None:
        """The transaction was rolled back: what it held was never there. Where that cannot be
        undone, everything is read again."""
        before, self._committed = self._committed, None
        chooser, self._chooser = self._chooser, None
        self._known = -1
        if before is None or chooser is None or chooser.snapshot.fleet is not before.fleet:
            return
        if before.fleet.go_back():
            self._known, self._middles = before.known, before.middles
            self._observed_at = before.observed_at
            self._chooser = Chooser(chooser.snapshot)  # it may have been broken off in its middle

    def settle(self, revision: int | None, *, told: bool = False) -> None:
        """It was committed. What it changed behind its last look is read again, unless the fleet
        was `told` of it all."""
        if revision is not None:
            self._known = revision if told else min(self._known, revision - 1)

    # --- reading --------------------------------------------------------------------------------

    def _load(self, session: Session) -> None:
        if not self._mix.profile.number:
            self._learn_from_recent(session)
        fleet = load_fleet(session, self._policy.capacity)
        self._chooser = Chooser(
            Snapshot(fleet=fleet, profile=self._mix.profile, policy=self._policy)
        )
        self._middles = regions_of(fleet)
        self._observed_at = None
        if len(fleet) >= LARGE:
            set_aside()

    def _learn_from_recent(self, session: Session) -> None:
        recent = select(col(AllocationRow.resources)).order_by(col(AllocationRow.created_at).desc())
        for resources in reversed(session.exec(recent.limit(RECENT)).all()):
            self._mix.learn(resources)

    def _renew(self, **changes: Any) -> None:
        """Decide over another snapshot."""
        self._chooser = Chooser(replace(self.chooser.snapshot, **changes), self.chooser)

    def _catch_up(self, session: Session, now: datetime) -> None:
        fleet = self.chooser.snapshot.fleet
        ids = session.exec(select(NodeRow.id).where(col(NodeRow.revision) > self._known)).all()
        if len(ids) > LARGE:
            self._load(session)
            return
        if ids:
            fleet = self._put_nodes(session, load_nodes(session, *ids), now)
        newer = col(AllocationRow.revision) > self._known
        for row in session.exec(_allocations().where(newer)):
            if row.released_at is None:
                fleet.hold(allocation_record(row))
            else:
                fleet.free(row.pipeline_id, row.generation)
        self._drop_deleted(session, fleet)

    def _put_nodes(self, session: Session, nodes: Sequence[GameNode], now: datetime) -> Fleet:
        """The fleet with these as they are now; it is another one when some have joined."""
        fleet = self.chooser.snapshot.fleet
        for node in nodes:
            if node.id in fleet.row_of:
                fleet.put(node)
        if joining := [node for node in nodes if node.id not in fleet.row_of]:
            fleet = fleet.joined(joining)
            self._renew(fleet=fleet, failures=_failures(session, fleet, now))
        self._middles = regions_of(fleet)
        return fleet

    @staticmethod
    def _drop_deleted(session: Session, fleet: Fleet) -> None:
        live = col(AllocationRow.released_at).is_(None)
        count = session.exec(select(func.count()).select_from(AllocationRow).where(live)).one()
        if count == len(fleet.held):
            return
        keys = select(AllocationRow.pipeline_id, AllocationRow.generation).where(live)
        for key in fleet.held.keys() - set(session.exec(keys)):
            fleet.free(*key)

    # --- what is observed -----------------------------------------------------------------------

    def _observe(self, session: Session, now: datetime) -> None:
        """Load and failures change all the time; they are read again when they are old."""
        since = self._observed_at
        if since is not None and abs(now - since) < OBSERVE_EVERY:
            return
        self._observed_at = now
        snapshot = self.chooser.snapshot
        if since is not None:
            self._measure(session, snapshot.fleet, since)
        failures = _failures(session, snapshot.fleet, now)
        if not _equal(failures, snapshot.failures):
            self._renew(failures=failures)

    @staticmethod
    def _measure(session: Session, fleet: Fleet, since: datetime) -> None:
        columns = col(NodeRow.id), col(NodeRow.metrics)
        seen = select(*columns).where(col(NodeRow.last_seen_at) >= since)
        for node_id, metrics in session.execute(seen):
            if node_id in fleet.row_of:
                fleet.measure(node_id, metrics)


def _failures(session: Session, fleet: Fleet, now: datetime) -> Numbers | None:
    """[n]: pipelines that failed on each node of late, fading; in quarters, so that it stands still
    for a while."""
    failed = select(PipelineRow.node_id, PipelineRow.ended_at).where(
        PipelineRow.state == PipelineState.FAILED.value,
        col(PipelineRow.ended_at) > now - FAILURES_KEPT,
    )
    counts = np.zeros(len(fleet))
    for node_id, ended_at in session.exec(failed):
        row = fleet.row_of.get(node_id)
        if row is not None and ended_at is not None:
            counts[row] += 2 ** ((ended_at - now) / FAILURE_HALF_LIFE)
    rounded = (counts * 4).round() / 4
    return rounded if rounded.any() else None


def _equal(one: Numbers | None, other: Numbers | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
