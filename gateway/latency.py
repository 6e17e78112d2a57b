"""How far players are from nodes: probes that clients and agents report, places of regions."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gamepipe.model.errors import InvalidRequest, NotFound
from gamepipe.model.latency import (
    REGION,
    Endpoint,
    Estimate,
    MeasuredWay,
    Probe,
    Region,
    name_flaw,
)
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.scheduling.probe import FORGOTTEN

MOST_PROBES = 1000
"""In one report."""
LONGEST_MS = 10_000.0
MOST_COUNTED = 1000
EARLY = timedelta(minutes=5)
"""How far a clock of a client may be ahead."""
_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReport:
    """One probe as it is reported; nothing of it is checked yet."""

    source: Endpoint
    rtt_ms: float
    at: datetime | None = None
    """None: now."""
    count: int = 1


class LatencyService:
    """Checks what is reported; the store holds the rules."""

    def __init__(self, *, store: Store, notices: NoticeSender, now: Callable[[], datetime]) -> None:
        self._store = store
        self._notices = notices
        self._now = now

    async def report(self, node_id: str, reports: Sequence[ProbeReport]) -> tuple[MeasuredWay, ...]:
        """Add probes to what is known of the ways to a node; those ways as they are now.

        Pipelines that wait because of a latency are offered what suits.

        Raises:
            InvalidRequest: with every mistake; nothing was added.
            NotFound: no such node, or one of the nodes that probed it is none.
        """
        now = self._now()
        if not 0 < len(reports) <= MOST_PROBES:
            raise InvalidRequest(
                f"a report has 1 to {MOST_PROBES} probes, this one has {len(reports)}: "
                "send several reports"
            )
        mistakes = [
            f"probes[{place}] {mistake}"
            for place, report in enumerate(reports)
            for mistake in _mistakes(node_id, report, now)
        ]
        if mistakes:
            more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
            raise InvalidRequest("; ".join(mistakes[:_SHOWN]) + more)
        probes = [_probe(node_id, report, now) for report in reports]
        ways = await self._store.latencies.report(probes, now=now)
        regions = {way.source.name for way in ways if way.source.kind == REGION}
        await self._notices.send(await self._store.placements.offer_nearer(regions, now=now))
        return ways

    async def estimates(self, node_id: str) -> tuple[Estimate, ...]:
        """What placement goes by for that node. Raises `NotFound`."""
        return await self._store.latencies.estimates(node_id, now=self._now())

    async def regions(self) -> tuple[Region, ...]:
        return await self._store.latencies.regions()

    async def region(self, name: str) -> Region:
        """Raises `NotFound`."""
        for region in await self._store.latencies.regions():
            if region.name == name:
                return region
        raise NotFound("region", name)

    async def put_region(self, name: str, *, latitude: float, longitude: float) -> Region:
        """Say where a region is; who waited for a latency to be known is offered what suits.

        Raises `InvalidRequest`.
        """
        if wrong := name_flaw(name):
            raise InvalidRequest(f"the region's name {wrong}")
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise InvalidRequest("latitude counts from -90 to 90, longitude from -180 to 180")
        said = Region(name=name, latitude=latitude, longitude=longitude)
        region = await self._store.latencies.put_region(said, now=self._now())
        await self._notices.send(await self._store.placements.offer(now=self._now()))
        return region

    async def remove_region(self, name: str) -> None:
        """Its place is that of its nodes again, which may be nearer. Raises `NotFound`."""
        await self._store.latencies.remove_region(name)
        await self._notices.send(await self._store.placements.offer(now=self._now()))


def _mistakes(node_id: str, report: ProbeReport, now: datetime) -> Iterator[str]:
    if wrong := name_flaw(report.source.name):
        yield f"`from` {wrong}"
    if report.source == Endpoint("node", node_id):
        yield "`from_node` is the node itself: name another one"
    if not (math.isfinite(report.rtt_ms) and 0 < report.rtt_ms <= LONGEST_MS):
        yield f"`rtt_ms` is above 0 and at most {LONGEST_MS:.0f}"
    if not 1 <= report.count <= MOST_COUNTED:
        yield f"`count` counts from 1 to {MOST_COUNTED}"
    if report.at is not None and report.at > now + EARLY:
        yield "`at` lies in the future: correct the clock, or leave it out"
    if report.at is not None and report.at < now - FORGOTTEN:
        yield f"`at` is longer ago than {FORGOTTEN.days} days, when probes are forgotten"


def _probe(node_id: str, report: ProbeReport, now: datetime) -> Probe:
    return Probe(
        source=report.source,
        node_id=node_id,
        rtt_ms=report.rtt_ms,
        at=min(report.at or now, now),
        count=report.count,
    )
