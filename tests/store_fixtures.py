"""New stores at the newest schema: each is a copy of one that was migrated once."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from store.database import parse_url
from store.migration import migrate

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NewStore = Callable[[Path], str]
"""The URL of a new SQLite store in a folder."""


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> NewStore:
    folder = tmp_path_factory.mktemp("migrated")
    grown, template = folder / "grown.db", folder / "template.db"
    migrate(parse_url(f"sqlite:///{grown}"))
    with closing(sqlite3.connect(grown)) as connection:
        connection.execute("VACUUM INTO ?", (str(template),))  # without a log beside it

    def make(folder: Path) -> str:
        shutil.copyfile(template, folder / "store.db")
        return f"sqlite:///{folder / 'store.db'}"

    return make


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new store without a row; the tests that ask for it run over both databases."""
    return _new_store(request, tmp_path)


@pytest.fixture(scope="module", params=DATABASES)
def module_store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """One store for all tests of a module that ask for it."""
    return _new_store(request, tmp_path_factory.mktemp("store"))


def _new_store(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("new_sqlite")(folder))
    return str(request.getfixturevalue("postgres").create_store())
