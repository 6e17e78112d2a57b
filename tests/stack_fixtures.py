"""One whole stack for the tests of a folder, and more game nodes that join it.

The tests of the main job have fixtures of the same names that run over every kind of stack (see
`tests/e2e/conftest.py`); everybody else gets the first kind.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack

KINDS = ("temporal-sqlite", "grpc-postgresql", "temporal-postgresql", "grpc-sqlite")
"""How agents take their steps, and where the state is kept."""
StartStack = Callable[..., RunningStack]


def wanted_kinds() -> tuple[str, ...]:
    """`full`, or names with commas; by default both transports and both stores are met once."""
    wanted = os.environ.get("GAMEPIPE_MATRIX", ",".join(KINDS[:2]))
    return KINDS if wanted == "full" else tuple(wanted.split(","))


def stacks_of(kind: str, request: pytest.FixtureRequest) -> StartStack:
    """Makes stacks of that kind, not started yet: (data directory, flags, environment)."""
    transport, store = kind.split("-")

    def prepare(data_dir: Path, *flags: str, **environment: str) -> RunningStack:
        if store == "postgresql":
            database = request.getfixturevalue("postgres").create_database()
            environment = {"GAMEPIPE_STORE_URL": database} | environment
        environment = {"GAMEPIPE_AGENT_TRANSPORT": transport} | environment
        return RunningStack(data_dir, *flags, **environment)

    return prepare


@contextmanager
def started(stack: RunningStack) -> Iterator[RunningStack]:
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@contextmanager
def fleet_at(stack: RunningStack, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(stack, folder)
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="package")
def shared_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """One stack for tests that leave it as it was. It ends with its folder: one that idles costs
    more than to start another."""
    prepare = stacks_of(KINDS[0], request)
    with started(prepare(tmp_path_factory.mktemp("stack"))) as stack:
        yield stack


@pytest.fixture(scope="module")
def fleet(shared_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """More game nodes at the shared stack, gone at the end of the module."""
    with fleet_at(shared_stack, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet
