"""One real Temporal server for the whole test run, on free ports, in memory."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from gamepipe.connecting import connect_temporal
from gamepipe.embedded.temporal import TemporalServer


@pytest.fixture(scope="session")
async def temporal_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[TemporalServer]:
    folder: Path = tmp_path_factory.mktemp("temporal")
    server = TemporalServer(data_dir=folder)
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def temporal_client(temporal_server: TemporalServer) -> Client:
    return await connect_temporal(temporal_server.address, "default")
