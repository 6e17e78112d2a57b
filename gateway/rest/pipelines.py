"""Routes of pipelines."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ConfigDict, Field

from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.ports import LogQuery, PipelineFilter
from gateway.events import LAST_ID
from gateway.explanation import PlacementView
from gateway.forecast_view import PlanView
from gateway.logs import LONGEST_SEARCH, MOST_TAIL, checked
from gateway.planning import MOST_COPIES
from gateway.rest.body import (
    LARGEST_NUMBER,
    Body,
    ChangeBody,
    Moment,
    SubmitBody,
    parse_args,
    read_submission,
)
from gateway.rest.stream import (
    LogFormat,
    Shutdown,
    begun,
    event_response,
    log_response,
    wants_stream,
)
from gateway.service import GamePipelineService
from gateway.view import EventView, PipelineListView, PipelineView

Verdicts = Annotated[int, Query(ge=0, le=100_000, description="As many nodes are told one by one.")]
SUBMIT_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SubmitBody.model_json_schema()},
            "application/yaml": {
                "schema": {"type": "string"},
                "example": "name: hello\nsteps:\n  - type: command\n    command: echo hello\n",
            },
        },
    }
}


class CancelBody(Body):
    """Why, and how long running steps have between TERM and KILL."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "wrong game"}]})

    reason: str = Field(default="", max_length=1000)
    grace_seconds: float | None = Field(default=None, ge=0, le=86400)


class PipelineRoutes:
    """Adapters only; every method is one route."""

    def __init__(
        self, service: GamePipelineService, *, workflow_base: str, shutdown: Shutdown
    ) -> None:
        self._service = service
        self._workflow_base = workflow_base
        self._shutdown = shutdown

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/pipelines", tags=["pipelines"])
        router.post("", status_code=201, response_model=PipelineView, openapi_extra=SUBMIT_DOCS)(
            self.create
        )
        router.post("/plan", response_model=PlanView, openapi_extra=SUBMIT_DOCS)(self.plan)
        router.get("")(self.list_)
        router.get("/{pipeline_id}")(self.get)
        router.patch("/{pipeline_id}")(self.update)
        router.delete("/{pipeline_id}", status_code=204)(self.delete)
        router.post("/{pipeline_id}/cancel", status_code=202)(self.cancel)
        router.get("/{pipeline_id}/placement")(self.placement)
        router.get("/{pipeline_id}/logs", response_class=Response)(self.logs)
        router.get("/{pipeline_id}/events", response_model=list[EventView])(self.events)
        return router

    async def create(
        self,
        request: Request,
        response: Response,
        id: Annotated[str, Query(description="Id, for a body that is a pipeline file.")] = "",
        arg: Annotated[list[str], Query(description="NAME=VALUE, for such a body.")] = [],  # noqa: B006
    ) -> PipelineView:
        """Create and start a pipeline. The same id with the same content again answers 200."""
        submission = await read_submission(request, pipeline_id=id, args=arg)
        record, created = await self._service.create(submission)
        response.status_code = 201 if created else 200
        response.headers["Location"] = f"/api/v1/pipelines/{record.id}"
        return self._view(record)

    async def list_(
        self,
        *,
        page: Annotated[int, Query(ge=1, le=LARGEST_NUMBER)] = 1,
        size: Annotated[int, Query(ge=1, le=1000)] = 50,
        state: Annotated[list[PipelineState], Query()] = [],  # noqa: B006
        node_id: str = "",
        template: str = "",
        tenant: str = "",
        name: str = "",
        label: Annotated[list[str], Query(description="KEY=VALUE")] = [],  # noqa: B006
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        sort_by: str = "created_at",
        sort_order: str = "desc",
    ) -> PipelineListView:
        """Pipelines that match every given filter."""
        query = PipelineFilter(
            states=tuple(state),
            node_id=node_id,
            template=template,
            tenant=tenant,
            name=name,
            labels=parse_args(label),
            start_time=start_time,
            end_time=end_time,
            sort_by=sort_by,
            sort_order=sort_order,
            page=page,
            size=size,
        )
        return PipelineListView.of(await self._service.list(query))

    async def get(self, pipeline_id: str) -> PipelineView:
        """One pipeline with its steps."""
        return self._view(await self._service.get(pipeline_id))

    async def update(self, pipeline_id: str, body: ChangeBody) -> PipelineView:
        """Change name, labels and priority; the definition while nothing was placed (else 409)."""
        return self._view(await self._service.update(pipeline_id, body.change()))

    async def delete(self, pipeline_id: str, force: bool = False) -> None:
        """Remove a terminal pipeline. A live one answers 409; `force` cancels it first, and answers
        503 when its end takes longer than a client can wait: that goes on, so repeat it later."""
        await self._service.delete(pipeline_id, force=force)

    async def cancel(self, pipeline_id: str, body: CancelBody | None = None) -> PipelineView:
        """Ask for the end; it comes within the grace. A second one only shortens the grace."""
        wanted = body or CancelBody()
        seconds = wanted.grace_seconds
        grace = None if seconds is None else timedelta(seconds=seconds)
        return self._view(
            await self._service.cancel(pipeline_id, reason=wanted.reason, grace=grace)
        )

    async def placement(self, pipeline_id: str, verdicts: Verdicts = 1000) -> PlacementView:
        """Where it ran and runs, and how each node was chosen; or why it waits, as things stand
        now: a verdict for every node, its place in the queue, and what would let it run."""
        return PlacementView.of(await self._service.plans.why(pipeline_id), verdicts=verdicts)

    async def plan(
        self,
        request: Request,
        count: Annotated[int, Query(ge=1, le=MOST_COPIES, description="Copies.")] = 1,
        arg: Annotated[list[str], Query(description="NAME=VALUE, for a bare file.")] = [],  # noqa: B006
        verdicts: Verdicts = 1000,
    ) -> PlanView:
        """Where a pipeline, or `count` of it, would go now, and what stops the next one. The body
        is that of a creation; nothing is written, and nothing is held."""
        submission = await read_submission(request, pipeline_id="", args=arg)
        plan = await self._service.plans.plan(submission, count=count)
        return PlanView.of(plan, verdicts=verdicts)

    async def logs(
        self,
        *,
        request: Request,
        pipeline_id: str,
        step: Annotated[str, Query(description="Name or index of a step.")] = "",
        attempt: Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER)] = None,
        generation: Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER)] = None,
        since: Moment | None = None,
        tail: Annotated[int | None, Query(ge=0, le=MOST_TAIL)] = None,
        search: Annotated[str, Query(max_length=LONGEST_SEARCH)] = "",
        regex: Annotated[bool, Query(description="`search` is an RE2 expression.")] = False,
        follow: bool = False,
        download: Annotated[bool, Query(description="As a file to keep.")] = False,
    ) -> Response:
        """Log lines as text; NDJSON or SSE, which name the step of each line, as `Accept` asks.
        `follow` goes on until the last."""
        query = LogQuery(
            pipeline_id=pipeline_id,
            generation=generation,
            step_index=await self._service.step_index(pipeline_id, step),
            attempt=attempt,
            tail=tail,
            since=since,
            search=search,
            regex=regex,
        )
        reader = self._service.logs
        lines = reader.follow(checked(query)) if follow else reader.read(checked(query))
        if not follow:
            lines = await begun(lines)
        return log_response(
            self._shutdown.guard(lines),
            LogFormat.asked(request),
            names=await self._service.step_names(pipeline_id),
            file_name=f"{pipeline_id}.log",
            download=download,
        )

    async def events(
        self,
        request: Request,
        pipeline_id: str,
        after_id: Annotated[int, Query(ge=0, le=LAST_ID)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 500,
        last_event_id: Annotated[int | None, Header(ge=0, le=LAST_ID)] = None,
    ) -> Any:
        """Events of a pipeline; as SSE, without end, when `Accept: text/event-stream` asks."""
        after = after_id if last_event_id is None else last_event_id
        await self._service.get(pipeline_id)
        if wants_stream(request):
            source = self._service.events.follow(pipeline_id=pipeline_id, after_id=after)
            return event_response(self._shutdown.guard(source))
        return await self._service.events.read(pipeline_id=pipeline_id, after_id=after, limit=limit)

    def _view(self, record: PipelineRecord) -> PipelineView:
        return PipelineView.of(record, self._workflow_base)
