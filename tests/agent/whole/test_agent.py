"""The whole agent: real gRPC, a real Temporal server, real processes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client

from gamepipe.agent.container_start import MARK
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.main import run_agent
from gamepipe.agent.settings import AgentSettings
from gamepipe.embedded.temporal import TemporalServer
from gamepipe.model.spec import Container, Step, StepType
from gamepipe.model.state import StepState
from gamepipe.v1 import node_pb2
from tests.agent.gateway import Gateway
from tests.agent.making import assignment, processes_of
from tests.agent.running import OneOrder, RunningAgent, start_step
from tests.waiting import eventually

pytestmark = pytest.mark.temporal


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


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize("transport", ["temporal", "grpc"])
async def test_an_agent_that_comes_up_cut_off_stops_what_runs_elsewhere(
    start_agent,
    temporal_client: Client,
    settings: AgentSettings,
    gateway: Gateway,
    transport: str,
):
    first = await start_agent()
    step = assignment("echo up; sleep 1000", stop_when_cut_off=True)
    handle = await start_step(temporal_client, settings, step)
    await gateway.until(lambda: gateway.texts(("p", 1, 0, 1)) == ["up"])
    assert await first.end() == 0
    await gateway.stop()
    folders = AgentFolders(settings.data_dir)
    assert processes_of(folders) != []
    cut_off = {"node_ttl": 0.5, "transport": transport}
    second = RunningAgent(settings.model_copy(update=cut_off))
    await eventually(lambda: processes_of(folders) == [], what="the step is stopped")
    assert await second.end() == 0
    await handle.terminate()


@pytest.mark.parametrize("docker_url", ["", "unix:///nowhere/docker.sock"])
async def test_a_node_without_docker_accounts_for_what_never_ran_there_and_confirms_stops(
    settings: AgentSettings, gateway: Gateway, docker_url: str
):
    gateway.instance_ids = ["game.g1.s0"]
    order = node_pb2.StopOrder(order_id=7, pipeline_id="game", generation=1)
    agent = await RunningAgent(settings.model_copy(update={"docker_url": docker_url})).until_ready()
    gateway.streams[-1].down.put_nowait(node_pb2.ConnectResponse(stop_order=order))
    told = [one.instance_observed for one in await heard(gateway, "instance_observed")]
    assert [(one.instance_id, one.state) for one in told] == [("game.g1.s0", "lost")]
    (confirmed,) = await heard(gateway, "stop_confirmed")
    assert confirmed.stop_confirmed.order_id == 7
    assert await agent.end() == 0


async def test_an_engine_that_is_away_is_waited_for_where_the_game_ran(
    settings: AgentSettings, gateway: Gateway
):
    gateway.instance_ids = ["game.g1.s0", "other.g1.s0"]
    attempt = AgentFolders(settings.data_dir).attempts / "game" / "g1" / "step-0" / "a1"
    attempt.mkdir(parents=True)
    (attempt / MARK).touch()
    url = "unix:///nowhere/docker.sock"
    agent = await RunningAgent(settings.model_copy(update={"docker_url": url})).until_ready()
    told = [one.instance_observed for one in await heard(gateway, "instance_observed")]
    assert [one.instance_id for one in told] == ["other.g1.s0"]
    assert await agent.end() == 0


async def heard(gateway: Gateway, kind: str) -> list[node_pb2.ConnectRequest]:
    """What it was told of a kind, once it was told of any."""

    def found() -> list[node_pb2.ConnectRequest]:
        return [message for message in gateway.received if message.HasField(kind)]

    await gateway.until(found)
    return found()
