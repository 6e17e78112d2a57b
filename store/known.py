"""What this process knows of latencies between transactions, so that none reads all probes."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from gamepipe.model.latency import REGION, Measured
from gamepipe.scheduling.distance import Spot
from gamepipe.scheduling.latency import Latencies
from gamepipe.scheduling.network import Network
from store.measurement import NetworkRow, ProbeRow, RegionRow
from store.packing import unpack_network

FRESH = timedelta(seconds=2)
"""Other processes' probes are read so often; those of this one at once."""
OVERLAP = timedelta(seconds=30)
"""A transaction that began before the last look may have ended behind it, by another clock."""
WHOLE = timedelta(minutes=10)
"""Everything is read again, for what was removed."""
AGED = timedelta(minutes=1)

Probes = dict[str, Mapping[str, Measured]]


class LatencyCache:
    """One for each database; any thread may ask. What it hands out never changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stale = True
        self._looked_at: datetime | None = None
        self._whole_at: datetime | None = None
        self._fitted_at: datetime | None = None
        self._probes: Probes = {}
        self._said: dict[str, Spot] = {}
        self._network = Network()
        self._middles: Mapping[str, Spot] = {}
        self._known: Latencies | None = None

    def expire(self) -> None:
        """This process wrote something: the next one who asks shall see it."""
        self._stale = True

    def known(self, session: Session, middles: Mapping[str, Spot], *, now: datetime) -> Latencies:
        """The same object as before while nothing changed.

        Args:
            session: of any transaction.
            middles: where regions are of which nobody said it.
            now: by which probes have aged, to the minute.
        """
        with self._lock:
            if self._stale or self._looked_at is None or abs(now - self._looked_at) >= FRESH:
                self._look(session, now)
            known = self._known
            if known is None or middles != self._middles or self._has_aged(known, now):
                known = self._known = self._renewed(middles, now)
            return known

    @staticmethod
    def _has_aged(known: Latencies, now: datetime) -> bool:
        return known.now is None or abs(now - known.now) >= AGED

    def _renewed(self, middles: Mapping[str, Spot], now: datetime) -> Latencies:
        self._middles = middles
        return Latencies(
            regions={**middles, **self._said}, probes=self._probes, network=self._network, now=now
        )

    def _look(self, session: Session, now: datetime) -> None:
        self._stale, whole = False, self._whole_at is None or abs(now - self._whole_at) >= WHOLE
        try:
            self._look_at_all(session, now, whole=whole)
        except Exception:
            self._whole_at = None
            self._stale = True
            raise
        self._looked_at, self._whole_at = now, now if whole else self._whole_at

    def _look_at_all(self, session: Session, now: datetime, *, whole: bool) -> None:
        looked = (
            self._look_at_probes(session, now, whole=whole),
            self._look_at_regions(session),
            self._look_at_network(session),
        )
        if any(looked):
            self._known = None

    def _look_at_probes(self, session: Session, now: datetime, *, whole: bool) -> bool:
        """Whether any changed; a region's are replaced, never changed under who reads them."""
        since = None if whole or self._looked_at is None else min(now, self._looked_at) - OVERLAP
        found = _read_probes(session, since)
        present = {} if since is None else self._probes
        changed = {
            region: {**present.get(region, {}), **ways}
            for region, ways in found.items()
            if any(present.get(region, {}).get(node) != way for node, way in ways.items())
        }
        if since is not None and not changed:
            return False
        self._probes = {**present, **changed}
        return True

    def _look_at_regions(self, session: Session) -> bool:
        rows = session.exec(select(RegionRow))
        said = {row.name: (row.latitude, row.longitude) for row in rows}
        changed, self._said = said != self._said, said
        return changed

    def _look_at_network(self, session: Session) -> bool:
        fitted_at = session.exec(select(NetworkRow.fitted_at)).first()
        if fitted_at is None or fitted_at == self._fitted_at:
            return False
        data = session.exec(select(NetworkRow.data)).one()
        self._network, self._fitted_at = unpack_network(data), fitted_at
        return True


def _read_probes(session: Session, since: datetime | None) -> dict[str, dict[str, Measured]]:
    """By region and node; only columns, for there may be very many."""
    table = ProbeRow.__table__.c  # type: ignore[attr-defined]  # SQLModel's types lack it
    query = columns(
        table.source, table.node_id, table.rtt_ms, table.jitter_ms, table.weight, table.last_at
    ).where(col(ProbeRow.kind) == REGION)
    if since is not None:
        query = query.where(col(ProbeRow.written_at) >= since)
    found: dict[str, dict[str, Measured]] = {}
    for source, node_id, rtt_ms, jitter_ms, weight, last_at in session.connection().execute(query):
        found.setdefault(source, {})[node_id] = Measured(
            rtt_ms=rtt_ms, jitter_ms=jitter_ms, weight=weight, last_at=last_at
        )
    return found
