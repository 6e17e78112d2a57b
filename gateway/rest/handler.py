"""`GamePipelineHandler`: the REST application."""

from collections.abc import Callable

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from gamepipe.model.errors import StoreUnavailable
from gateway.auth import Access
from gateway.rest import problem
from gateway.rest.fleet import FleetRoutes
from gateway.rest.guard import RequestGuard
from gateway.rest.latency import LatencyRoutes
from gateway.rest.pipelines import PipelineRoutes
from gateway.rest.stream import Shutdown
from gateway.service import GamePipelineService

ABOUT = """Durable pipelines on a fleet of game nodes.

Errors are `application/problem+json` with a stable `reason`. Lists are paged. Logs and events
are streamed where `Accept` asks for `text/event-stream`.

With a bearer token, every path needs it but `/healthz` and `/readyz`, which probes ask. Without
one, pages of other sites are refused."""


class GamePipelineHandler:
    """Builds the application; calls only the service."""

    def __init__(
        self,
        service: GamePipelineService,
        *,
        access: Access,
        workflow_base: str,
        trouble: Callable[[], str],
    ) -> None:
        """`trouble`: why this gateway can do nothing now, though it runs; empty: it can."""
        self._trouble = trouble
        self._service = service
        self._access = access
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
        # Shown in the schema; the guard checks it.
        bearer = Depends(HTTPBearer(auto_error=False))
        api = APIRouter(prefix="/api/v1", dependencies=[bearer])
        api.include_router(pipelines.router())
        api.include_router(fleet.router())
        api.include_router(LatencyRoutes(self._service.latency).router())
        app.include_router(api)
        app.add_middleware(RequestGuard, access=self._access)
        app.get("/", include_in_schema=False)(self.root)
        app.get("/healthz", tags=["health"])(self.healthy)
        app.get("/readyz", tags=["health"])(self.ready)
        return app

    async def root(self) -> RedirectResponse:
        return RedirectResponse("/docs")

    async def healthy(self) -> dict[str, str]:
        """Whether the gateway runs."""
        return {"status": "ok"}

    async def ready(self) -> dict[str, str]:
        """Whether store and Temporal answer, and the store takes what is written; 503 names the one
        that does not."""
        await self._service.check_ready()
        if said := self._trouble():
            raise StoreUnavailable(said)
        return {"status": "ok"}
