"""Routes of latencies and regions."""

from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator

from gamepipe.model import latency
from gamepipe.model.latency import LONGEST_NAME, NODE, Estimate, Measured, Region
from gateway.latency import (
    LONGEST_MS,
    MOST_COUNTED,
    MOST_PROBES,
    LatencyService,
    ProbeReport,
)
from gateway.rest.body import Body, Moment
from gateway.view import View

_PROBE: dict[str, Any] = {"from": "eu-north", "rtt_ms": 23.4, "count": 10}
_FROM_NODE: dict[str, Any] = {
    "from_node": "node-242",
    "rtt_ms": 1.9,
    "at": "2026-11-24T10:00:00Z",
}
_ESTIMATE: dict[str, Any] = {
    "from": "eu-north",
    "from_node": None,
    "ms": 23.1,
    "error_ms": 1.2,
    "source": "measured",
    "measured": {
        "rtt_ms": 23.4,
        "jitter_ms": 1.1,
        "samples": 120,
        "last_at": "2026-11-24T10:00:00Z",
    },
}
_REGION: dict[str, Any] = {"latitude": 59.33, "longitude": 18.07}


class ProbeBody(Body):
    """Round trips from a region of players, or from another node."""

    model_config = ConfigDict(
        populate_by_name=True, json_schema_extra={"examples": [_PROBE, _FROM_NODE]}
    )

    source: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        max_length=LONGEST_NAME,
        description="Region of the player, as in `placement.player_region`.",
    )
    from_node: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_NAME, description="Id of the other node."
    )
    rtt_ms: float = Field(
        gt=0, le=LONGEST_MS, allow_inf_nan=False, description="Of several: their median."
    )
    at: Moment | None = Field(default=None, description="Absent: now.")
    count: int = Field(default=1, ge=1, le=MOST_COUNTED, description="Of round trips.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source is None) == (self.from_node is None):
            raise ValueError("give `from`, a region, or `from_node`, a node: one of them")
        return self

    def report(self) -> ProbeReport:
        source = (
            latency.node(self.from_node) if self.from_node else latency.region(self.source or "")
        )
        return ProbeReport(source=source, rtt_ms=self.rtt_ms, at=self.at, count=self.count)


class LatencyBody(Body):
    """Probes of the way to a node."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"probes": [_PROBE, _FROM_NODE]}]})

    probes: list[ProbeBody] = Field(min_length=1, max_length=MOST_PROBES)


class RegionBody(Body):
    """Where the players of a region are."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REGION]})

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)


class MeasuredView(View):
    rtt_ms: float = Field(description="Median of the probes; newer ones count more.")
    jitter_ms: float = Field(description="How far from it they usually are.")
    samples: int = Field(description="Round trips so far.")
    last_at: datetime


class EstimateView(View):
    """The way from a region, or from another node."""

    model_config = ConfigDict(populate_by_name=True, json_schema_extra={"examples": [_ESTIMATE]})

    region: str | None = Field(alias="from")
    from_node: str | None
    ms: float | None = Field(description="What placement goes by; null: nothing is known.")
    error_ms: float | None = Field(description="How far off it may be.")
    source: str = Field(description="measured, predicted, distance or unknown.")
    measured: MeasuredView | None = Field(description="By itself, where there are probes.")

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        is_node = estimate.source.kind == NODE
        return cls(
            region=None if is_node else estimate.source.name,
            from_node=estimate.source.name if is_node else None,
            ms=_rounded(estimate.ms),
            error_ms=_rounded(estimate.error_ms),
            source=estimate.how,
            measured=_measured(estimate.measured) if estimate.measured else None,
        )


class WayView(View):
    """What is measured of a way, with what was just reported."""

    model_config = ConfigDict(populate_by_name=True)

    region: str | None = Field(alias="from")
    from_node: str | None
    measured: MeasuredView


class RegionView(View):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"examples": [{"name": "eu-north", "updated_at": None} | _REGION]},
    )

    name: str
    latitude: float
    longitude: float
    updated_at: datetime | None = Field(
        description="null: nobody said it; it is the middle of the nodes located there."
    )

    @classmethod
    def of(cls, region: Region) -> Self:
        return cls.model_validate(region)


class LatencyRoutes:
    """Adapters only; every method is one route."""

    def __init__(self, latencies: LatencyService) -> None:
        self._latencies = latencies

    def router(self) -> APIRouter:
        router = APIRouter()
        router.post("/nodes/{node_id}/latency", tags=["nodes"])(self.report)
        router.get("/nodes/{node_id}/latency", tags=["nodes"])(self.latency)
        router.get("/regions", tags=["regions"])(self.regions)
        router.get("/regions/{name}", tags=["regions"])(self.region)
        router.put("/regions/{name}", tags=["regions"])(self.put_region)
        router.delete("/regions/{name}", status_code=204, tags=["regions"])(self.remove_region)
        return router

    async def report(self, node_id: str, body: LatencyBody) -> list[WayView]:
        """Report probes of the way to a node, from players or from other nodes. They are added to
        what is known; the answer has the ways that were reported. A probe counts half
        after a day, and after two weeks for nothing."""
        ways = await self._latencies.report(node_id, [probe.report() for probe in body.probes])
        return [
            WayView(
                region=None if way.source.kind == NODE else way.source.name,
                from_node=way.source.name if way.source.kind == NODE else None,
                measured=_measured(way.measured),
            )
            for way in ways
        ]

    async def latency(self, node_id: str) -> list[EstimateView]:
        """How far the node is from every known region, the nearest first, as placement takes it:
        measured, predicted from what else was measured, or by distance. Then what other nodes
        measured."""
        return [EstimateView.of(one) for one in await self._latencies.estimates(node_id)]

    async def regions(self) -> list[RegionView]:
        """Regions with a place, by name."""
        return [RegionView.of(one) for one in await self._latencies.regions()]

    async def region(self, name: str) -> RegionView:
        return RegionView.of(await self._latencies.region(name))

    async def put_region(self, name: str, body: RegionBody) -> RegionView:
        """Say where the players of a region are. Without it they are in the middle of the nodes
        that are located in that region."""
        region = await self._latencies.put_region(
            name, latitude=body.latitude, longitude=body.longitude
        )
        return RegionView.of(region)

    async def remove_region(self, name: str) -> None:
        """Forget what was said of a region."""
        await self._latencies.remove_region(name)


def _measured(measured: Measured) -> MeasuredView:
    return MeasuredView(
        rtt_ms=round(measured.rtt_ms, 3),
        jitter_ms=round(measured.jitter_ms, 3),
        samples=measured.samples,
        last_at=measured.last_at,
    )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
