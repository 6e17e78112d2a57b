"""Whole agents against a real Temporal server."""

from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.settings import AgentSettings
from tests.agent.gateway import Gateway
from tests.agent.making import processes_of
from tests.agent.running import OneOrder, OneStep, RunningAgent


@pytest.fixture(autouse=True)
def nothing_stays(settings: AgentSettings):
    """Whatever a test does, no process of its steps outlives it."""
    yield
    left = processes_of(AgentFolders(settings.data_dir))
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture
async def start_agent(settings: AgentSettings):
    agents = []

    async def start() -> RunningAgent:
        agents.append(RunningAgent(settings))
        return await agents[-1].until_ready()

    yield start
    for agent in agents:
        await agent.end()


@pytest.fixture(scope="module")
async def control(temporal_client: Client):
    async with Worker(
        temporal_client, task_queue="agent-test", workflows=[OneStep, OneOrder]
    ) as worker:
        yield worker


@pytest.fixture
def settings(gateway: Gateway, temporal_server, tmp_path: Path, request) -> AgentSettings:
    gateway.temporal_address = temporal_server.address
    return AgentSettings(
        node_id=f"node-{request.node.name.replace('_', '-')}"[:60],
        gateways=(gateway.address,),
        data_dir=tmp_path / "agent",
        allow_commands=True,
        docker_url="",
    )
