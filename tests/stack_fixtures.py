"""One whole stack for the whole test run, and more game nodes that join it."""

from collections.abc import Iterator

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for tests that leave it as it was."""
    stack = RunningStack(tmp_path_factory.mktemp("stack"))
    stack.start()
    yield stack
    stack.close()


@pytest.fixture(scope="module")
def fleet(shared_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """More game nodes at the shared stack, gone at the end of the module."""
    fleet = Fleet(shared_stack, tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()
