"""Bringing a database to the present schema; safe when several processes start at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from gamepipe.model.errors import StoreUnavailable
from store.database import sqlite_engine

MIGRATION_LOCK = 0x67616D65_0003
FOLDER = Path(__file__).with_name("migrations")


def migrate(url: URL) -> None:
    """Upgrade to the newest revision. Raises `StoreUnavailable`."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    try:
        with _connected(url) as connection:
            if _revision(connection) != ScriptDirectory.from_config(config).get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except (OperationalError, InterfaceError) as error:
        where = url.render_as_string(hide_password=True)
        raise StoreUnavailable(
            f"the store {where} does not answer: start the database, or set GAMEPIPE_STORE_URL"
        ) from error


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    """A connection in one transaction, alone with the schema."""
    if url.get_backend_name() == "sqlite":
        with _file_lock(url), _begun(sqlite_engine(url, begin="BEGIN IMMEDIATE")) as connection:
            yield connection
        return
    engine = create_engine(url, hide_parameters=True, connect_args={"connect_timeout": 5})
    with _begun(engine) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        yield connection


@contextmanager
def _begun(engine: Engine) -> Iterator[Connection]:
    """Its only transaction; no connection stays."""
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    path = Path(f"{url.database}.migrating")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
