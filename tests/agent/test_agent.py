"""The whole agent: real gRPC, a real Temporal server, real processes."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.main import run_agent
from gamepipe.agent.settings import AgentSettings
from gamepipe.embedded.temporal import TemporalServer
from gamepipe.model.spec import Container, Step, StepType
from gamepipe.model.state import StepState
from gamepipe.v1 import node_pb2
from gamepipe.wire import (
    CleanWorkspace,
    StepAssignment,
    StepReport,
    StepResult,
    StopAnswer,
    StopStep,
    node_queue,
)
from tests.agent.gateway import Gateway
from tests.agent.making import assignment, processes_of
from tests.waiting import eventually

pytestmark = pytest.mark.temporal
ONE_TRY = RetryPolicy(maximum_attempts=1)


@workflow.defn(sandboxed=False)
class OneStep:
    """Dispatches one attempt until its end is known, as the pipeline's workflow does."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.dispatches = 0

    @workflow.run
    async def run(self, node_id: str, step: StepAssignment) -> StepResult:
        while True:
            self.dispatches += 1
            try:
                return await workflow.execute_activity(
                    "run_step",
                    step,
                    result_type=StepResult,
                    task_queue=node_queue(node_id),
                    start_to_close_timeout=timedelta(minutes=5),
                    heartbeat_timeout=timedelta(seconds=step.heartbeat_seconds),
                    retry_policy=ONE_TRY,
                )
            except Exception:
                if self.dispatches > 5:
                    raise

    @workflow.signal
    def report_step(self, report: StepReport) -> None:
        self.reports.append(report)

    @workflow.query
    def kinds(self) -> list[str]:
        return [report.kind.value for report in self.reports]


@workflow.defn(sandboxed=False)
class OneOrder:
    """Sends one stop or one clean-up to a node."""

    @workflow.run
    async def run(self, node_id: str, name: str, order: dict) -> Any:
        wanted = StopStep(**order) if name == "stop_step" else CleanWorkspace(**order)
        return await workflow.execute_activity(
            name,
            wanted,
            result_type=StopAnswer if name == "stop_step" else None,
            task_queue=node_queue(node_id),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=ONE_TRY,
        )


class RunningAgent:
    def __init__(self, settings: AgentSettings) -> None:
        self.ready, self.stop = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(run_agent(settings, ready=self.ready, stop=self.stop))

    async def until_ready(self) -> "RunningAgent":
        await asyncio.wait_for(self.ready.wait(), 20)
        return self

    async def end(self) -> int:
        self.stop.set()
        return await asyncio.wait_for(asyncio.shield(self.task), 10)


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


async def start_step(client: Client, settings: AgentSettings, step: StepAssignment):
    return await client.start_workflow(
        OneStep.run,
        args=[settings.node_id, step],
        id=f"pipeline-{settings.node_id}-{step.step.index}",
        task_queue="agent-test",
    )


async def test_a_step_runs_its_result_comes_back_and_its_lines_arrive(
    control, start_agent, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    agent = await start_agent()
    step = assignment("echo hello; echo oops >&2; echo answer=42 >> $GAMEPIPE_OUTPUT")
    handle = await start_step(temporal_client, settings, step)
    result = await handle.result()
    assert result.state is StepState.COMPLETED
    assert result.outputs == {"answer": "42"}
    assert result.exit_code == 0
    await gateway.until(lambda: len(gateway.logs[("p", 1, 0, 1)]) == 2)
    assert sorted(gateway.texts(("p", 1, 0, 1))) == ["hello", "oops"]
    assert await agent.end() == 0


async def test_a_restarted_agent_adopts_the_running_command(
    control, start_agent, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    go = settings.data_dir.parent / "go"
    script = f"echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo two"
    first = await start_agent()
    handle = await start_step(temporal_client, settings, assignment(script))
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["one"])
    await eventually(lambda: _kinds(handle), what="RUNNING is reported")
    began = asyncio.get_running_loop().time()
    assert await first.end() == 0
    assert asyncio.get_running_loop().time() - began < 2.5
    second = await start_agent()
    go.touch()
    result = await handle.result()
    assert result.state is StepState.COMPLETED
    await gateway.until(lambda: len(gateway.texts(("p", 1, 0, 1))) >= 2)
    assert gateway.texts(("p", 1, 0, 1)) == ["one", "two"]
    assert await second.end() == 0


async def _kinds(handle) -> list[str]:
    return await handle.query("kinds")


async def test_stop_step_ends_a_running_step(
    control, start_agent, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    agent = await start_agent()
    handle = await start_step(temporal_client, settings, assignment("echo up; sleep 1000"))
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["up"])
    order = {"pipeline_id": "p", "generation": 1, "step_index": 0, "attempt": 1}
    answer = await temporal_client.execute_workflow(
        OneOrder.run,
        args=[settings.node_id, "stop_step", {**order, "grace_seconds": 5.0}],
        id=f"stop-{settings.node_id}",
        task_queue="agent-test",
    )
    assert answer
    result = await handle.result()
    assert (result.state, result.reason) == (StepState.FAILED, "CANCELED")
    assert await agent.end() == 0


async def test_a_second_agent_on_the_same_data_directory_is_refused(
    start_agent, settings: AgentSettings, capfd
):
    agent = await start_agent()
    assert await run_agent(settings, stop=asyncio.Event()) == 1
    assert "another --data-dir" in "".join(capfd.readouterr())
    assert await agent.end() == 0


async def test_a_superseded_agent_stops_with_an_error(
    start_agent, settings: AgentSettings, gateway: Gateway, capfd
):
    agent = await start_agent()
    superseded = node_pb2.Superseded(newest_session=99)
    await gateway.streams[-1].down.put(node_pb2.ConnectResponse(superseded=superseded))
    assert await asyncio.wait_for(agent.task, 10) == 1
    assert "another --node-id" in "".join(capfd.readouterr())


async def test_a_stored_stop_order_is_carried_out_and_confirmed(
    control, start_agent, temporal_client: Client, settings: AgentSettings, gateway: Gateway
):
    agent = await start_agent()
    handle = await start_step(temporal_client, settings, assignment("echo up; sleep 1000"))
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["up"])
    order = node_pb2.StopOrder(order_id=7, pipeline_id="p", generation=1)
    await gateway.streams[-1].down.put(node_pb2.ConnectResponse(stop_order=order))
    await gateway.until(lambda: any(m.stop_confirmed.order_id == 7 for m in gateway.received))
    assert (await handle.result()).reason == "CANCELED"
    assert not (settings.data_dir / "workspaces" / "p").exists()
    assert await agent.end() == 0


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


async def test_temporal_away_does_not_keep_an_agent_from_stopping(
    settings: AgentSettings, gateway: Gateway, tmp_path: Path
):
    server = TemporalServer(data_dir=tmp_path)
    await server.start()
    gateway.temporal_address = server.address
    agent = await RunningAgent(settings).until_ready()
    await server.stop()
    began = asyncio.get_running_loop().time()
    assert await agent.end() == 0
    assert asyncio.get_running_loop().time() - began < 3.0


async def test_without_docker_the_node_says_so_and_refuses_containers(
    control, temporal_client: Client, settings: AgentSettings, gateway: Gateway, request
):
    absent = f"unix://{settings.data_dir}/absent.sock"
    agent = RunningAgent(settings.model_copy(update={"docker_url": absent}))
    await agent.until_ready()
    facts = gateway.registered[0].facts
    assert (list(facts.features), facts.docker_version) == (["command"], "")
    step = assignment("")
    container = Step(
        index=0, name="c", type=StepType.CONTAINER, container=Container(image="busybox")
    )
    handle = await start_step(temporal_client, settings, replace(step, step=container))
    result = await handle.result()
    assert (result.state, result.reason) == (StepState.FAILED, "RUNTIME_UNAVAILABLE")
    assert "docker" in result.message.lower()
    assert await agent.end() == 0


async def test_an_instance_that_is_gone_is_reported_lost(
    settings: AgentSettings, gateway: Gateway, docker_url: str
):
    gateway.instance_ids = ["gone.g1.s0"]
    agent = RunningAgent(settings.model_copy(update={"docker_url": docker_url}))
    await agent.until_ready()
    await gateway.until(
        lambda: any(m.instance_observed.instance_id == "gone.g1.s0" for m in gateway.received)
    )
    told = [m.instance_observed for m in gateway.received if m.HasField("instance_observed")]
    assert told[0].state == "lost"
    assert gateway.registered[0].facts.docker_version
    assert await agent.end() == 0
