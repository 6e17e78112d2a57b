"""`GamePipelineHandler`: the REST application."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from gateway.auth import TokenSource, check_token
from gateway.rest import problem
from gateway.rest.fleet import FleetRoutes
from gateway.rest.pipelines import PipelineRoutes
from gateway.rest.stream import Shutdown
from gateway.service import GamePipelineService

ABOUT = """Durable pipelines on a fleet of game nodes.

Errors are `application/problem+json` with a stable `reason`. Lists are paged. Logs and events
are streamed where `Accept` asks for `text/event-stream`."""


class GamePipelineHandler:
    """Builds the application; calls only the service."""

    def __init__(
        self,
        service: GamePipelineService,
        *,
        token: TokenSource,
        workflow_base: str,
    ) -> None:
        self._service = service
        self._token = token
        self._workflow_base = workflow_base
        self.shutdown = Shutdown()

    def app(self) -> FastAPI:
        # The page at /docs brings its scripts along: a fleet's network may not reach a CDN.
        app = FastAPIOffline(
            redoc_url=None, title="Game Pipeline Service", version="1", description=ABOUT
        )
        problem.install(app)
        pipelines = PipelineRoutes(
            self._service, workflow_base=self._workflow_base, shutdown=self.shutdown
        )
        fleet = FleetRoutes(self._service.fleet, self._service.events, self.shutdown)
        guards = [Depends(HTTPBearer(auto_error=False)), Depends(self._authorize)]
        api = APIRouter(prefix="/api/v1", dependencies=guards)
        api.include_router(pipelines.router())
        api.include_router(fleet.router())
        app.include_router(api)
        app.get("/", include_in_schema=False)(self.root)
        app.get("/healthz", tags=["health"])(self.healthy)
        app.get("/readyz", tags=["health"])(self.ready)
        return app

    async def _authorize(
        self, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
    ) -> None:
        check_token(authorization, self._token())

    async def root(self) -> RedirectResponse:
        return RedirectResponse("/docs")

    async def healthy(self) -> dict[str, str]:
        """Whether the gateway runs."""
        return {"status": "ok"}

    async def ready(self) -> dict[str, str]:
        """Whether store and Temporal answer; 503 names the one that does not."""
        await self._service.check_ready()
        return {"status": "ok"}
