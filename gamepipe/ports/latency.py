"""The repository of what is known of the network."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gamepipe.model.latency import Estimate, MeasuredWay, Probe, Region


class LatencyRepository(Protocol):
    """How far players and nodes are from each other: probes, places of regions, predictions."""

    async def report(self, probes: Sequence[Probe], *, now: datetime) -> tuple[MeasuredWay, ...]:
        """Add to what is known of each way; the ways that changed. Raises `NotFound` for a node
        that is not registered, and adds nothing then. Not idempotent: a probe that is sent again
        counts again, which its median bears. Of a node with too many sources those go that were
        silent the longest."""

    async def ways(self, node_id: str) -> tuple[MeasuredWay, ...]:
        """Measured to that node. Raises `NotFound`."""

    async def estimates(self, node_id: str, *, now: datetime) -> tuple[Estimate, ...]:
        """What placement would go by: from every known region, the nearest first, then from the
        nodes that measured it. Raises `NotFound`."""

    async def regions(self) -> tuple[Region, ...]:
        """Every region with a place, by name: said, or the middle of the nodes located there."""

    async def put_region(self, region: Region, *, now: datetime) -> Region:
        """Say where a region is; the last word counts."""

    async def remove_region(self, name: str) -> None:
        """Its place is that of its nodes again. Raises `NotFound`."""

    async def settle(self, *, now: datetime) -> bool:
        """Work out anew what the measured ways say of the others, if it is due; whether it was."""

    async def cleanup(self, *, limit: int, now: datetime) -> int:
        """Remove up to `limit` ways whose probes are too old to count; the number removed."""
