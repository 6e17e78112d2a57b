"""The migrated schema: what the tables say, and what earlier schemas held."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, text

from gamepipe.model.node import Location
from store.database import parse_url
from store.migration import FOLDER
from store.store import GamePipelineStore
from store.table import PipelineRow
from tests.store.conftest import NOW
from tests.store.shapes import registration


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: here, every migration runs."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres").create_database())


def _engine(url: str) -> Engine:
    return create_engine(parse_url(url))


def _go_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_the_schema_is_the_one_of_the_tables(
    store: GamePipelineStore, store_url: str
) -> None:
    def differences() -> list[object]:
        with _engine(store_url).begin() as connection:
            context = MigrationContext.configure(connection)
            return compare_metadata(context, PipelineRow.metadata)

    assert await asyncio.to_thread(differences) == []


async def test_labels_and_locations_of_an_earlier_schema_stay(store_url: str) -> None:
    """Nobody knows who set them."""
    somewhere = '{"text":"","region":"eu","zone":"","latitude":null,"longitude":null}'
    nowhere = somewhere.replace("eu", "")
    row = (
        "INSERT INTO game_node (id, facts, alias, labels, location, state, connectivity, session,"
        " transport, registered_at, last_seen_at, metrics) VALUES (:id, :facts, '', :labels,"
        " :location, 'normal', 'online', 1, 'grpc', '2026-01-01', '2026-01-01', '{}')"
    )
    facts = '{"cpu":1,"memory_bytes":1,"disk_bytes":1}'

    def prepare() -> None:
        with _engine(store_url).begin() as connection:
            _go_to(connection, "0002")
            for id_, labels, location in (("set", '{"a":"b"}', somewhere), ("bare", "{}", nowhere)):
                values = {"id": id_, "facts": facts, "labels": labels, "location": location}
                connection.execute(text(row), values)

    await asyncio.to_thread(prepare)
    store = await GamePipelineStore.open(store_url)
    declared = {"labels": {"disk": "ssd"}, "location": Location(region="us")}
    kept = await store.nodes.register(registration("set", **declared), now=NOW)
    bare = await store.nodes.register(registration("bare", **declared), now=NOW)
    await store.close()
    assert (kept.labels, kept.location.region) == ({"a": "b"}, "eu")
    assert (bare.labels, bare.location.region) == ({"disk": "ssd"}, "us")
