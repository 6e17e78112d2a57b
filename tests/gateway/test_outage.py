"""Temporal or the database away: clear answers, and nothing is lost."""

import contextlib
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.client import Client

from activities.sweep import PipelineSweep
from gamepipe.config import Settings
from gamepipe.embedded.temporal import TemporalServer
from gamepipe.model.errors import InvalidRequest
from gamepipe.notice import NoticeSender
from gateway.auth import check_binding
from tests.gateway.conftest import running
from tests.gateway.test_pipelines import HELLO, reason
from tests.postgres_fixtures import PostgresServer
from tests.waiting import eventually
from tests.workflows.node import now
from worker import build_worker


class Away:
    """An address where no Temporal answers."""

    address = "127.0.0.1:1"
    ui_url = "http://127.0.0.1:1"


async def test_a_pipeline_made_while_temporal_is_away_is_started_later(
    tmp_path: Path, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with running(url, Away(), temporal_client) as gateway:  # type: ignore[arg-type]
        created = await gateway.http.post("/pipelines", json={"definition": HELLO, "id": "p1"})
        assert (created.status_code, created.json()["state"]) == (201, "not_started")
        refused = await gateway.http.post("/pipelines/p1/cancel")
        assert reason(refused) == (503, "TEMPORAL_UNAVAILABLE")
        base = str(gateway.http.base_url).removesuffix("/api/v1/")
        assert reason(await gateway.http.get(f"{base}/readyz"))[1] == "TEMPORAL_UNAVAILABLE"
    async with running(url, temporal_server, temporal_client) as gateway:
        await gateway.node("n1")
        async with build_worker(temporal_client, gateway.store):
            sweep = PipelineSweep(
                store=gateway.store,
                client=temporal_client,
                notices=NoticeSender(temporal_client),
                settings=gateway.run_settings,
                now=lambda: now() + timedelta(minutes=1),
            )
            await sweep.run_once()
            assert (await gateway.ended("p1"))["state"] == "completed"


@pytest.mark.postgres
async def test_with_the_database_away_nothing_is_accepted(
    postgres: PostgresServer, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    own = PostgresServer(postgres.binaries, Path(mkdtemp(prefix="gamepipe-outage-")))
    own.start()
    async with running(own.create_database(), temporal_server, temporal_client) as gateway:
        own.stop()
        answer = await gateway.http.post("/pipelines", json={"definition": HELLO, "id": "p1"})
        assert reason(answer) == (503, "STORE_UNAVAILABLE")
        assert "postgres@" not in answer.text or "password" not in answer.text
        own.restart()
        again = await gateway.http.post("/pipelines", json={"definition": HELLO, "id": "p1"})
        assert again.status_code == 201
    own.stop()


async def test_a_store_that_takes_nothing_more_is_told_until_it_does(
    temporal_server: TemporalServer, temporal_client: Client, small_disk: Path
) -> None:
    """Reading goes on: only who writes would find out."""
    url, filler = f"sqlite:///{small_disk / 'store.db'}", small_disk / "filler"
    async with running(url, temporal_server, temporal_client) as gateway:
        base = str(gateway.http.base_url).removesuffix("/api/v1/")

        async def says(status: int, served: int) -> bool:
            async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                told = await health.Check(health_pb2.HealthCheckRequest())
            answer = await gateway.http.get(f"{base}/readyz")
            return (answer.status_code, told.status) == (status, served)

        states = health_pb2.HealthCheckResponse
        assert await says(200, states.SERVING)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        await eventually(lambda: says(503, states.NOT_SERVING))
        assert reason(await gateway.http.get(f"{base}/readyz"))[1] == "STORE_UNAVAILABLE"
        filler.unlink()
        await eventually(lambda: says(200, states.SERVING))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_open_address_needs_a_token_or_consent(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="GAMEPIPE_TOKEN_FILE"):
        check_binding(Settings(rest_host=host))
    with pytest.raises(InvalidRequest, match="GAMEPIPE_TOKEN_FILE"):
        check_binding(Settings(grpc_host=host))
    check_binding(Settings(rest_host=host, insecure=True))
    token = tmp_path / "token"
    token.write_text("x")
    check_binding(Settings(rest_host=host, token_file=token))
    token.write_text("\n")
    with pytest.raises(InvalidRequest, match="is empty"):
        check_binding(Settings(rest_host=host, token_file=token))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_binding(Settings(rest_host=host, grpc_host=host))
