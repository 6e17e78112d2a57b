"""Routes of nodes, instances and the fleet's events."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import ConfigDict, Field

from gamepipe.model.node import Location
from gamepipe.model.state import NodeState
from gamepipe.ports import NodeChange
from gateway.events import LAST_ID, EventReader
from gateway.fleet import FleetService
from gateway.fleet_view import DrainView, InstanceView, LocationView, NodeView
from gateway.rest.body import Body
from gateway.rest.stream import Shutdown, event_response, wants_stream
from gateway.view import EventView


class StopBody(Body):
    """How long the game has between TERM and KILL."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    grace_seconds: float | None = Field(default=None, ge=0, le=86400)


class DrainBody(Body):
    """How long what runs may take to end by itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"deadline_seconds": 3600}]})

    deadline_seconds: float | None = Field(
        default=None, ge=0, description="Then it is stopped; absent: never."
    )
    ignore_instances: bool = Field(
        default=False,
        description="Running games neither count nor are stopped.",
    )


class NodeChangeBody(Body):
    """What people set of a node; what is absent stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "maintenance"}]})

    alias: str | None = Field(default=None, max_length=200)
    labels: dict[str, str] | None = None
    location: LocationView | None = None
    state: NodeState | None = None


class FleetRoutes:
    """Adapters only; every method is one route."""

    def __init__(self, fleet: FleetService, events: EventReader, shutdown: Shutdown) -> None:
        self._fleet = fleet
        self._events = events
        self._shutdown = shutdown

    def router(self) -> APIRouter:
        router = APIRouter()
        router.get("/nodes", tags=["nodes"])(self.nodes)
        router.get("/nodes/{node_id}", tags=["nodes"])(self.node)
        router.patch("/nodes/{node_id}", tags=["nodes"])(self.update_node)
        router.post("/nodes/{node_id}/drain", status_code=202, tags=["nodes"])(self.drain)
        router.get("/nodes/{node_id}/drain", tags=["nodes"])(self.drained)
        router.get("/instances", tags=["instances"])(self.instances)
        router.get("/instances/{instance_id}", tags=["instances"])(self.instance)
        router.post("/instances/{instance_id}/stop", status_code=202, tags=["instances"])(
            self.stop_instance
        )
        router.get("/events", tags=["events"], response_model=list[EventView])(self.events)
        return router

    async def nodes(self) -> list[NodeView]:
        """Every game node of the fleet."""
        return [NodeView.of(node) for node in await self._fleet.nodes()]

    async def node(self, node_id: str) -> NodeView:
        return NodeView.of(await self._fleet.node(node_id))

    async def update_node(self, node_id: str, body: NodeChangeBody) -> NodeView:
        """Set alias, labels, location or state. `disabled` stops what runs there."""
        change = NodeChange(
            alias=body.alias,
            labels=body.labels,
            location=Location(**body.location.model_dump()) if body.location else None,
            state=body.state,
        )
        return NodeView.of(await self._fleet.update_node(node_id, change))

    async def drain(self, node_id: str, body: DrainBody | None = None) -> DrainView:
        """Empty a node: it goes to maintenance and takes nothing new; what runs may end by itself
        until the deadline. Setting it to normal calls the drain off; a newer drain replaces it."""
        wanted = body or DrainBody()
        seconds = wanted.deadline_seconds
        report = await self._fleet.drains.start(
            node_id,
            deadline=None if seconds is None else timedelta(seconds=seconds),
            ignore_instances=wanted.ignore_instances,
        )
        return DrainView.of(report)

    async def drained(self, node_id: str) -> DrainView:
        """How far the node's last drain is, and what is left."""
        return DrainView.of(await self._fleet.drains.report(node_id))

    async def instances(
        self,
        node_id: str = "",
        pipeline_id: str = "",
        live: Annotated[bool, Query(description="Only those that run.")] = False,
    ) -> list[InstanceView]:
        """Services that outlive their pipeline: the running games."""
        found = await self._fleet.instances(
            node_id=node_id, pipeline_id=pipeline_id, live_only=live
        )
        return [InstanceView.model_validate(one) for one in found]

    async def instance(self, instance_id: str) -> InstanceView:
        return InstanceView.model_validate(await self._fleet.instance(instance_id))

    async def stop_instance(self, instance_id: str, body: StopBody | None = None) -> InstanceView:
        """Ask for the end of a running game; it comes within the grace."""
        seconds = body.grace_seconds if body else None
        grace = None if seconds is None else timedelta(seconds=seconds)
        return InstanceView.model_validate(await self._fleet.stop_instance(instance_id, grace))

    async def events(
        self,
        request: Request,
        after_id: Annotated[int | None, Query(ge=0, le=LAST_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 500,
        last_event_id: Annotated[int | None, Header(ge=0, le=LAST_ID)] = None,
    ) -> Any:
        """Events of the fleet. As SSE (`Accept: text/event-stream`) it begins behind
        `Last-Event-ID` or `after_id`, else with what comes now."""
        after = after_id if last_event_id is None else last_event_id
        if not wants_stream(request):
            return await self._events.read(after_id=after or 0, limit=limit)
        if after is None:
            after = await self._events.last_id()
        return event_response(self._shutdown.guard(self._events.follow(after_id=after)))
