"""The scripts that the Compose file mounts, on a real PostgreSQL and a real Temporal."""

from datetime import timedelta

import psycopg
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from gamepipe.embedded.temporal import TemporalServer
from tests.compose.conftest import make_namespace
from tests.postgres_fixtures import PostgresServer

OWNERS = {"gamepipe": "gamepipe", "temporal": "temporal", "temporal_visibility": "temporal"}


def log_in(server: PostgresServer, role: str, password: str, database: str) -> str:
    """The database's owner, as a role sees it."""
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user=role, password=password, dbname=database
    ) as connection:
        query = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        row = connection.execute(query).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.postgres
@pytest.mark.parametrize(("database_name", "owner"), OWNERS.items())
def test_each_role_owns_its_databases(
    database: PostgresServer, passwords: dict[str, str], database_name: str, owner: str
) -> None:
    password = passwords[f"{owner.upper()}_DB_PASSWORD"]
    assert log_in(database, owner, password, database_name) == owner


@pytest.mark.postgres
def test_a_role_needs_its_password_and_stays_out_of_the_others_databases(
    database: PostgresServer, passwords: dict[str, str]
) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(database, "gamepipe", passwords["TEMPORAL_DB_PASSWORD"], "gamepipe")
    for other in ("temporal", "temporal_visibility"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            log_in(database, "gamepipe", passwords["GAMEPIPE_DB_PASSWORD"], other)


@pytest.mark.temporal
async def test_the_namespace_follows_the_setting_and_keeps_histories_longer(
    temporal_server: TemporalServer, temporal_client: Client
) -> None:
    for days in (30, 45):
        make_namespace(temporal_server, "scripted", retention_days=days)
        described = await temporal_client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="scripted")
        )
        kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
        assert kept == timedelta(days=days + 1)
