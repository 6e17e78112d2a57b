"""Fixtures of the agent's tests: a real gRPC gateway, folders, plans."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.process_runtime import ProcessRuntime
from gamepipe.agent.runtime import StepPlan
from gamepipe.wire import CleanWorkspace
from tests.agent.gateway import Gateway
from tests.agent.making import make_plan
from tests.agent.node import Node


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


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "agent")
    yield node
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    await node.close()


@pytest.fixture
def runtime(folders: AgentFolders) -> ProcessRuntime:
    return ProcessRuntime(folders)
