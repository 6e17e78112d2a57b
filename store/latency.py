"""Probes, places of regions, and what follows from them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlmodel import Session, col, delete, func, select, tuple_
from sqlmodel.sql.expression import SelectOfScalar

from gamepipe.model.errors import NotFound
from gamepipe.model.latency import (
    NODE,
    Endpoint,
    Estimate,
    Measured,
    MeasuredWay,
    Probe,
    Region,
    region,
)
from gamepipe.model.node import GameNode
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import SOURCES, Latencies, Latency
from gamepipe.scheduling.network import Network, network_of
from gamepipe.scheduling.place import region_spots, regions_of
from gamepipe.scheduling.probe import FORGOTTEN, Sample, kept, measured_by, sample_of
from store.database import Database
from store.known import LatencyCache
from store.measurement import NetworkRow, ProbeRow, RegionRow
from store.packing import pack_network
from store.record import load_nodes
from store.table import NodeRow
from store.transaction import Transaction

Key = tuple[str, str, str]
"""Kind and name of the source, and the node."""
SOURCES_OF_A_NODE = 1000
"""Regions and nodes that one node may be measured from."""
FIT_EVERY = timedelta(seconds=30)
FIT_AT_LEAST = timedelta(hours=1)
"""Also without new probes: the old ones have aged."""


def load_latencies(session: Session, fleet: Fleet, *, now: datetime) -> Latencies:
    """What placement goes by; `fleet` has every node, for regions of which nobody said a place."""
    cache: LatencyCache = session.info.get(LatencyCache) or LatencyCache()
    return cache.known(session, regions_of(fleet), now=now)


class LatencyStore:
    """See `gamepipe.ports.LatencyRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, probes: Sequence[Probe], *, now: datetime) -> tuple[MeasuredWay, ...]:
        found = await self._database.write(lambda tx: _report(tx, probes, now=now))
        self._database.latencies.expire()
        return found

    async def ways(self, node_id: str) -> tuple[MeasuredWay, ...]:
        return await self._database.read(lambda session: tuple(_ways_to(session, node_id)))

    async def estimates(self, node_id: str, *, now: datetime) -> tuple[Estimate, ...]:
        return await self._database.read(lambda session: _estimates(session, node_id, now=now))

    async def regions(self) -> tuple[Region, ...]:
        return await self._database.read(_regions)

    async def put_region(self, region: Region, *, now: datetime) -> Region:
        def work(tx: Transaction) -> None:
            place = {"latitude": region.latitude, "longitude": region.longitude}
            tx.session.merge(RegionRow(name=region.name, updated_at=now, **place))

        await self._database.write(work)
        self._database.latencies.expire()
        return Region(
            name=region.name,
            latitude=region.latitude,
            longitude=region.longitude,
            updated_at=now,
        )

    async def remove_region(self, name: str) -> None:
        def work(tx: Transaction) -> None:
            row = tx.session.get(RegionRow, name)
            if row is None:
                raise NotFound("region", name)
            tx.session.delete(row)

        await self._database.write(work)
        self._database.latencies.expire()

    async def settle(self, *, now: datetime) -> bool:
        """Seconds of a large fleet are spent outside of any transaction."""
        if not await self._database.read(lambda session: _is_due(session, now)):
            return False
        fit = await self._database.read(lambda session: _prepare(session, now))
        network = await asyncio.to_thread(fit)
        row = NetworkRow(id=1, fitted_at=now, data=pack_network(network))
        await self._database.write(lambda tx: tx.session.merge(row) and None)
        self._database.latencies.expire()
        return True

    async def cleanup(self, *, limit: int, now: datetime) -> int:
        return await self._database.write(lambda tx: _remove(tx, now - FORGOTTEN, limit))


def _report(tx: Transaction, probes: Sequence[Probe], *, now: datetime) -> tuple[MeasuredWay, ...]:
    """Rows are made first and then locked in one order, so that reports wait for each other."""
    ways: dict[Key, list[Probe]] = {}
    for probe in probes:
        ways.setdefault((*probe.source, probe.node_id), []).append(probe)
    _check_nodes(tx.session, probes)
    keys = sorted(ways)
    tx.insert_missing(ProbeRow, (_empty(key, now) for key in keys))
    rows = tx.session.exec(_locked(keys)).all()
    for row in rows:
        told = ways[row.kind, row.source, row.node_id]
        _add(row, [sample_of(probe) for probe in told], now=now)
    tx.session.flush()
    for node_id in {probe.node_id for probe in probes}:
        _keep_few(tx.session, node_id)
    return tuple(_way(row) for row in rows)


def _locked(keys: Sequence[Key]) -> SelectOfScalar[ProbeRow]:
    columns = (col(ProbeRow.kind), col(ProbeRow.source), col(ProbeRow.node_id))
    rows = select(ProbeRow).where(tuple_(*columns).in_(keys))
    return rows.order_by(*columns).with_for_update()


def _check_nodes(session: Session, probes: Sequence[Probe]) -> None:
    named = {probe.node_id for probe in probes}
    named |= {probe.source.name for probe in probes if probe.source.kind == NODE}
    found = set(session.exec(select(NodeRow.id).where(col(NodeRow.id).in_(named))))
    for missing in sorted(named - found):
        raise NotFound("node", missing)


def _empty(key: Key, now: datetime) -> dict[str, object]:
    names = dict(zip(("kind", "source", "node_id"), key, strict=True))
    zero = {"rtt_ms": 0.0, "jitter_ms": 0.0, "weight": 0.0, "samples": 0, "kept": ()}
    return names | zero | {"last_at": now, "written_at": now}


def _add(row: ProbeRow, new: Sequence[Sample], *, now: datetime) -> None:
    row.kept = kept([*row.kept, *new])
    row.samples += sum(sample.count for sample in new)
    measured = measured_by(row.kept, in_all=row.samples)
    row.rtt_ms, row.jitter_ms = measured.rtt_ms, measured.jitter_ms
    row.weight, row.last_at = measured.weight, measured.last_at
    row.written_at = now


def _keep_few(session: Session, node_id: str) -> None:
    key = tuple_(col(ProbeRow.kind), col(ProbeRow.source))
    silent = (
        select(ProbeRow.kind, ProbeRow.source)
        .where(ProbeRow.node_id == node_id)
        .order_by(col(ProbeRow.last_at).desc(), col(ProbeRow.kind), col(ProbeRow.source))
        .offset(SOURCES_OF_A_NODE)
    )
    gone = session.exec(silent).all()
    if gone:
        session.connection().execute(
            delete(ProbeRow).where(col(ProbeRow.node_id) == node_id, key.in_(gone))
        )


def _way(row: ProbeRow) -> MeasuredWay:
    measured = Measured(
        rtt_ms=row.rtt_ms,
        jitter_ms=row.jitter_ms,
        weight=row.weight,
        last_at=row.last_at,
        samples=row.samples,
    )
    return MeasuredWay(
        source=Endpoint(row.kind, row.source), node_id=row.node_id, measured=measured
    )


def _ways_to(session: Session, node_id: str) -> list[MeasuredWay]:
    if session.get(NodeRow, node_id) is None:
        raise NotFound("node", node_id)
    rows = select(ProbeRow).where(ProbeRow.node_id == node_id)
    return [_way(row) for row in session.exec(rows.order_by(ProbeRow.kind, ProbeRow.source))]


def _regions(session: Session) -> tuple[Region, ...]:
    middles = region_spots(load_nodes(session))
    found = {
        name: Region(name=name, latitude=at[0], longitude=at[1]) for name, at in middles.items()
    }
    for row in session.exec(select(RegionRow)):
        place = {"latitude": row.latitude, "longitude": row.longitude}
        found[row.name] = Region(name=row.name, updated_at=row.updated_at, **place)
    return tuple(found[name] for name in sorted(found))


def _estimates(session: Session, node_id: str, *, now: datetime) -> tuple[Estimate, ...]:
    ways = {way.source: way.measured for way in _ways_to(session, node_id)}
    nodes = load_nodes(session)
    known = load_latencies(session, Fleet(nodes), now=now)
    alone = Fleet(node for node in nodes if node.id == node_id)
    names = {*known.regions, *known.probes}
    found = [
        _estimate(region(name), known.toward(name, alone), ways.get(region(name)))
        for name in sorted(names)
    ]
    found.sort(key=lambda one: (one.ms is None, one.ms))
    return (*found, *(_plain(source, way) for source, way in ways.items() if source.kind == NODE))


def _estimate(source: Endpoint, latency: Latency, measured: Measured | None) -> Estimate:
    known = bool(latency.source[0])
    return Estimate(
        source=source,
        ms=float(latency.ms[0]) if known else None,
        error_ms=float(latency.error_ms[0]) if known else None,
        how=SOURCES[latency.source[0]],
        measured=measured,
    )


def _plain(source: Endpoint, way: Measured) -> Estimate:
    return Estimate(
        source=source, ms=way.rtt_ms, error_ms=way.jitter_ms, how="measured", measured=way
    )


def _is_due(session: Session, now: datetime) -> bool:
    newest = session.exec(select(func.max(ProbeRow.written_at))).one()
    fitted_at = session.exec(select(NetworkRow.fitted_at)).first()
    if newest is None:
        return False
    if fitted_at is None:
        return True
    age = abs(now - fitted_at)
    return age >= FIT_AT_LEAST or (age >= FIT_EVERY and newest >= fitted_at)


def _prepare(session: Session, now: datetime) -> "partial[Network]":
    ways = [_way(row) for row in session.exec(select(ProbeRow))]
    said = {row.name: (row.latitude, row.longitude) for row in session.exec(select(RegionRow))}
    nodes: list[GameNode] = load_nodes(session)
    return partial(network_of, ways, nodes, said, now=now)


def _remove(tx: Transaction, before: datetime, limit: int) -> int:
    key = (col(ProbeRow.kind), col(ProbeRow.source), col(ProbeRow.node_id))
    old = select(*key).where(col(ProbeRow.last_at) < before).limit(limit)
    gone = tx.session.exec(old).all()
    if gone:
        tx.session.connection().execute(delete(ProbeRow).where(tuple_(*key).in_(gone)))
    return len(gone)
