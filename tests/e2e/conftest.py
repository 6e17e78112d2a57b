"""Stacks for the end-to-end tests: one that is shared, and fresh ones to be broken."""

from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks of the test's own."""
    made: list[RunningStack] = []

    def make(*flags: str, **environment: str) -> RunningStack:
        stack = RunningStack(tmp_path / f"stack{len(made)}", *flags, **environment)
        made.append(stack)
        stack.start()
        return stack

    yield make
    for stack in made:
        stack.close()
