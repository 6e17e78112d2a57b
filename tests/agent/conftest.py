"""Fixtures of the agent's tests: a real gRPC gateway, folders, plans."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.runtime import StepPlan
from tests.agent.gateway import Gateway
from tests.agent.making import make_plan


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    server = Gateway()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def folders(tmp_path: Path) -> AgentFolders:
    return AgentFolders(tmp_path / "agent")


@pytest.fixture
def plan_of(folders: AgentFolders) -> Callable[..., StepPlan]:
    """Makes the plan of a `command` step, with its folders."""

    def make(script: str, **fields: object) -> StepPlan:
        return make_plan(folders, script, **fields)

    return make
