"""One whole stack for the whole test run, and more game nodes that join it.

The tests of the main job run over every kind of stack that `GAMEPIPE_MATRIX` names (see
`tests/e2e/conftest.py`); everybody else gets the first kind.
"""

import os
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def stack_kind() -> str:
    return KINDS[0]


@pytest.fixture(scope="session")
def prepare_stack(stack_kind: str, request: pytest.FixtureRequest) -> StartStack:
    """Makes stacks of that kind, not started yet: (data directory, flags, environment)."""
    transport, store = stack_kind.split("-")

    def prepare(data_dir: Path, *flags: str, **environment: str) -> RunningStack:
        if store == "postgresql":
            database = request.getfixturevalue("postgres").create_database()
            environment = {"GAMEPIPE_STORE_URL": database} | environment
        environment = {"GAMEPIPE_AGENT_TRANSPORT": transport} | environment
        return RunningStack(data_dir, *flags, **environment)

    return prepare


@pytest.fixture(scope="session")
def shared_stack(
    prepare_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """One stack for tests that leave it as it was."""
    stack = prepare_stack(tmp_path_factory.mktemp("stack"))
    stack.start()
    yield stack
    stack.close()


@pytest.fixture(scope="module")
def fleet(shared_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """More game nodes at the shared stack, gone at the end of the module."""
    fleet = Fleet(shared_stack, tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()
