"""An agent in a process of its own, killed and stopped under its steps."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from temporalio.client import Client

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.settings import AgentSettings
from gamepipe.model.state import StepState
from tests.agent.gateway import Gateway
from tests.agent.making import assignment, processes_of
from tests.agent.running import OneOrder, start_step
from tests.waiting import eventually

pytestmark = pytest.mark.temporal


AGENT_PROGRAM = """
import asyncio, sys
from gamepipe.agent.main import run_agent
from gamepipe.agent.settings import AgentSettings
from gamepipe.logs import configure_logging
configure_logging()
sys.exit(asyncio.run(run_agent(AgentSettings())))
"""


class AgentProcess:
    """An agent in a process of its own, configured by its environment."""

    def __init__(self, settings: AgentSettings) -> None:
        environment = {
            **os.environ,
            "GAMEPIPE_AGENT_NODE_ID": settings.node_id,
            "GAMEPIPE_AGENT_GATEWAYS": ",".join(settings.gateways),
            "GAMEPIPE_AGENT_DATA_DIR": str(settings.data_dir),
            "GAMEPIPE_AGENT_ALLOW_COMMANDS": "true",
            "GAMEPIPE_AGENT_DOCKER_URL": "",
        }
        self.process = subprocess.Popen([sys.executable, "-c", AGENT_PROGRAM], env=environment)

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)


async def test_an_agent_that_is_killed_loses_nothing(
    control, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    go = settings.data_dir.parent / "go"
    script = (
        "echo start >> $GAMEPIPE_WORKSPACE/starts; i=0; while [ $i -lt 200 ]; do i=$((i+1)); "
        f"echo $i; [ $i -ne 100 ] || while [ ! -e {go} ]; do sleep 0.01; done; done; "
        "echo starts=$(cat $GAMEPIPE_WORKSPACE/starts | wc -l) >> $GAMEPIPE_OUTPUT"
    )
    first = AgentProcess(settings)
    handle = await start_step(temporal_client, settings, assignment(script, heartbeat_seconds=1.0))
    await gateway.until(lambda: "100" in gateway.texts(("p", 1, 0, 1)))
    assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    second = AgentProcess(settings)
    await gateway.until(lambda: gateway.session == 2)
    go.touch()
    result = await asyncio.wait_for(handle.result(), 60)
    assert result.state is StepState.COMPLETED
    assert result.outputs == {"starts": "1"}
    assert result.log_lines == 200
    await gateway.until(lambda: len(gateway.texts(("p", 1, 0, 1))) >= 200)
    assert gateway.texts(("p", 1, 0, 1)) == [str(number) for number in range(1, 201)]
    assert await second.end(signal.SIGTERM) == 0


async def test_sigterm_ends_a_busy_agent_quickly_and_leaves_its_step(
    control, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    agent = AgentProcess(settings)
    step = assignment("echo up; sleep 1000", heartbeat_seconds=5.0)
    await start_step(temporal_client, settings, step)
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["up"])
    began = asyncio.get_running_loop().time()
    assert await agent.end(signal.SIGTERM) == 0
    assert asyncio.get_running_loop().time() - began < 2.0
    again = AgentProcess(settings)
    await gateway.until(lambda: gateway.session == 2)
    order = {"pipeline_id": "p", "generation": 1, "step_index": 0, "attempt": 1}
    answer = await temporal_client.execute_workflow(
        OneOrder.run,
        args=[settings.node_id, "stop_step", {**order, "grace_seconds": 0.0}],
        id=f"stop-{settings.node_id}",
        task_queue="agent-test",
    )
    assert answer["was_running"]
    assert processes_of(AgentFolders(settings.data_dir)) == []
    assert await again.end(signal.SIGTERM) == 0


async def test_an_order_whose_agent_died_is_sent_again_soon(
    control, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    first = AgentProcess(settings)
    step = assignment("trap '' TERM; echo up; while true; do sleep 1000; done", grace_seconds=1.0)
    handle = await start_step(temporal_client, settings, step)
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["up"])
    order = {"pipeline_id": "p", "generation": 1, "step_index": 0, "attempt": 1}
    stopping = await temporal_client.start_workflow(
        OneOrder.run,
        args=[settings.node_id, "stop_step", {**order, "grace_seconds": 5.0}],
        id=f"stop-{settings.node_id}",
        task_queue="agent-test",
    )
    journal = AgentFolders(settings.data_dir).journal
    await eventually(lambda: list(journal.rglob("stop-a1")), what="the stop arrives")
    await first.end(signal.SIGKILL)
    second = AgentProcess(settings)
    answer = await asyncio.wait_for(stopping.result(), 20)
    assert answer is not None
    assert (await handle.result()).state is StepState.FAILED
    assert processes_of(AgentFolders(settings.data_dir)) == []
    assert await second.end(signal.SIGTERM) == 0
