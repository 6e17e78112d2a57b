"""An agent that takes its work from the stream of a gateway: real gRPC, real processes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.lease import LeaseFolder
from gamepipe.agent.link import GatewayLink
from gamepipe.agent.orders import NodeOrders
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.registration import registration
from gamepipe.agent.settings import AgentSettings
from gamepipe.agent.stream_server import StreamServer
from gamepipe.model import reason as reasons
from gamepipe.model.node import NodeFacts, NodeMetrics
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import Scope, StepAssignment
from gamepipe.wire.message import key_message, to_message
from tests.agent.gateway import Gateway
from tests.agent.making import assignment, processes_of
from tests.agent.node import Node, stop_of
from tests.waiting import eventually

OK, ABORTED, RETRY = (
    node_pb2.OUTCOME_OK,
    node_pb2.OUTCOME_ABORTED,
    node_pb2.OUTCOME_RETRY,
)
ENDLESS = "echo up; sleep 1000"
DEAF = "trap '' TERM; echo up; while true; do sleep 1000; done"
KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
FACTS = NodeFacts(cpu=1.0, memory_bytes=1, disk_bytes=1)
SETTINGS = AgentSettings(node_id="node-1", transport="grpc")


class StreamAgent:
    """A runner behind a stream; `restart` is what a new agent process would do."""

    def __init__(self, gateway: Gateway, root: Path) -> None:
        self.gateway = gateway
        self.node = Node(root)

    async def start(self) -> None:
        self.outbox = Outbox()
        self.channel = GatewayChannel((self.gateway.address,), lambda: None)
        self.values = GatewayValues(self.channel, "node-1")
        self.node.values = self.values
        self.node.start()
        runner, leases = self.node.runner, LeaseFolder(self.node.folders.leases)
        server = StreamServer(runner, self.outbox, leases, self.values)
        link = GatewayLink(
            self.channel,
            registration(SETTINGS, FACTS),
            sample=NodeMetrics,
            outbox=self.outbox,
            handler=NodeOrders(
                runner, watcher=None, observe=self.outbox.observe, grace_seconds=1.0, server=server
            ),
        )
        await link.register()
        self.tasks = [asyncio.create_task(work) for work in (link.run(), server.run())]
        await asyncio.wait_for(link.welcomed.wait(), 20)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.node.close()
        await self.channel.close()

    @property
    def leases(self) -> list[Path]:
        return list(self.node.folders.leases.glob("*.json"))


@pytest.fixture
async def agent(gateway: Gateway, tmp_path: Path) -> AsyncIterator[StreamAgent]:
    agent = StreamAgent(gateway, tmp_path / "agent")
    await agent.start()
    yield agent
    await agent.node.runner.stop_generation("p", 1, None, grace_seconds=0.0)
    await agent.close()
    assert processes_of(agent.node.folders) == []


async def send(gateway: Gateway, **work: object) -> None:
    down = node_pb2.ConnectResponse(work=node_pb2.Work(run_id="r", **work))
    await gateway.streams[-1].down.put(down)


async def send_step(gateway: Gateway, token: bytes, step: StepAssignment, **more: object) -> None:
    message = to_message(step, step_pb2.StepAssignment())
    await send(gateway, task_token=token, run_step=message, **more)


def told(gateway: Gateway, kind: str) -> list:
    return [getattr(m, kind) for m in gateway.received if m.WhichOneof("message") == kind]


def ends(gateway: Gateway) -> list[bytes]:
    return [end.task_token for end in told(gateway, "work_ended")]


async def until_beat(gateway: Gateway) -> None:
    """Two more heartbeats of the node: what was to be sent before them was sent."""
    seen = len(told(gateway, "heartbeat"))
    await gateway.until(lambda: len(told(gateway, "heartbeat")) >= seen + 2)


async def reconnect(gateway: Gateway) -> None:
    streams = len(gateway.streams)
    await gateway.streams[-1].down.put(None)
    await gateway.until(lambda: len(gateway.streams) > streams)


async def test_work_is_accepted_and_ended_under_its_token(agent: StreamAgent, gateway: Gateway):
    step = assignment("echo a=1 >> $GAMEPIPE_OUTPUT; sleep 0.5", heartbeat_seconds=0.3)
    await send_step(gateway, b"t1", step)
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert [one.task_token for one in told(gateway, "work_accepted")] == [b"t1"]
    assert {one.task_token for one in told(gateway, "work_beat")} == {b"t1"}
    assert [one.kind for one in told(gateway, "step_reported")] == ["running"]
    (end,) = told(gateway, "work_ended")
    assert end.key.pipeline_id == "p"
    assert (end.step_result.state, dict(end.step_result.outputs)["a"]) == ("completed", "1")
    await eventually(lambda: agent.leases == [], what="the lease is dropped")


async def test_values_that_came_with_the_work_are_used(agent: StreamAgent, gateway: Gateway):
    step = assignment("[ ${{ envs.A }} = sesame ]", scope=Scope(env_names=("A",)))
    await send_step(gateway, b"t1", step, values=step_pb2.StepValues(envs={"A": "sesame"}))
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert told(gateway, "work_ended")[0].step_result.state == "completed"


async def test_a_newer_dispatch_takes_over_and_the_older_end_is_withdrawn(
    agent: StreamAgent, gateway: Gateway
):
    step = assignment("true")
    gateway.outcomes["work_ended"] = [None, None]
    await send_step(gateway, b"t1", step)
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    await send_step(gateway, b"t2", replace(step, dispatch=2))
    await gateway.until(lambda: ends(gateway) == [b"t1", b"t2"])
    await reconnect(gateway)
    await gateway.until(lambda: len(ends(gateway)) == 3)
    await until_beat(gateway)
    assert ends(gateway) == [b"t1", b"t2", b"t2"]


async def test_a_newer_dispatch_of_a_running_step_ends_it_under_its_token(
    agent: StreamAgent, gateway: Gateway, tmp_path: Path
):
    go = tmp_path / "go"
    step = assignment(f"while [ ! -e {go} ]; do sleep 0.01; done")
    await send_step(gateway, b"t1", step)
    await gateway.until(lambda: told(gateway, "step_reported"))
    await send_step(gateway, b"t2", replace(step, dispatch=2))
    await gateway.until(lambda: len(told(gateway, "work_accepted")) == 2)
    go.touch()
    await gateway.until(lambda: ends(gateway) != [])
    await until_beat(gateway)
    assert ends(gateway) == [b"t2"]


async def test_an_aborted_report_stops_the_step(agent: StreamAgent, gateway: Gateway):
    gateway.outcomes["step_reported"] = [ABORTED]
    gateway.outcomes["work_ended"] = [ABORTED]
    await send_step(gateway, b"t1", assignment(ENDLESS))
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert told(gateway, "work_ended")[0].step_result.reason == reasons.CANCELED
    assert processes_of(agent.node.folders) == []
    await eventually(lambda: agent.leases == [])


async def test_what_is_to_be_retried_is_sent_again(agent: StreamAgent, gateway: Gateway):
    gateway.outcomes["work_ended"] = [RETRY, RETRY]
    await send_step(gateway, b"t1", assignment("true"))
    await gateway.until(lambda: len(ends(gateway)) == 3)
    await until_beat(gateway)
    assert ends(gateway) == [b"t1"] * 3
    assert len({m.sequence for m in gateway.received if m.HasField("work_ended")}) == 1


async def test_a_restarted_agent_asks_before_it_goes_on(
    agent: StreamAgent, gateway: Gateway, tmp_path: Path
):
    go = tmp_path / "go"
    step = assignment(f"echo up; while [ ! -e {go} ]; do sleep 0.01; done")
    await send_step(gateway, b"t1", step)
    await agent.node.until_line("up")
    await agent.close()
    gateway.outcomes["work_beat"] = [None]
    await agent.start()
    await gateway.until(lambda: any(beat.HasField("key") for beat in told(gateway, "work_beat")))
    await until_beat(gateway)
    assert agent.node.runner.running_steps == 0
    go.touch()
    await reconnect(gateway)
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert told(gateway, "work_ended")[0].step_result.state == "completed"


async def test_a_restarted_agent_stops_what_does_not_count_any_more(
    agent: StreamAgent, gateway: Gateway
):
    await send_step(gateway, b"t1", assignment(ENDLESS))
    await agent.node.until_line("up")
    await agent.close()
    gateway.outcomes["work_beat"] = [ABORTED]
    await agent.start()
    await eventually(lambda: processes_of(agent.node.folders) == [])
    await eventually(lambda: agent.leases == [])
    assert ends(gateway) == []


async def test_a_lost_lease_stops_the_step_while_the_stream_goes_on(
    agent: StreamAgent, gateway: Gateway
):
    await send_step(gateway, b"t1", assignment(DEAF, grace_seconds=1000.0))
    await agent.node.until_line("up")
    lost = node_pb2.LeaseLost(task_token=b"t1", key=key_message(KEY))
    await gateway.streams[-1].down.put(node_pb2.ConnectResponse(lease_lost=lost))
    await send_step(gateway, b"t2", assignment("true", step_index=1))
    await gateway.until(lambda: ends(gateway) == [b"t2"])
    stop = to_message(stop_of(grace_seconds=0.0), step_pb2.StopStep())
    await send(gateway, task_token=b"t3", stop_step=stop)
    await gateway.until(lambda: {b"t1", b"t3"} <= set(ends(gateway)))


async def test_a_lease_that_a_newer_one_replaced_may_be_lost(agent: StreamAgent, gateway: Gateway):
    step = assignment(ENDLESS)
    await send_step(gateway, b"t1", step)
    await agent.node.until_line("up")
    await send_step(gateway, b"t2", replace(step, dispatch=2))
    lost = node_pb2.LeaseLost(task_token=b"t1", key=key_message(KEY))
    await gateway.streams[-1].down.put(node_pb2.ConnectResponse(lease_lost=lost))
    await send_step(gateway, b"t3", assignment("true", step_index=1))
    await gateway.until(lambda: ends(gateway) == [b"t3"])
    assert processes_of(agent.node.folders) != []


async def test_an_order_is_kept_alive_until_it_is_carried_out(agent: StreamAgent, gateway: Gateway):
    await send_step(gateway, b"t1", assignment(DEAF))
    await agent.node.until_line("up")
    stop = to_message(stop_of(grace_seconds=1000.0), step_pb2.StopStep())
    await send(gateway, task_token=b"t2", stop_step=stop)
    await gateway.until(
        lambda: any(
            beat.task_token == b"t2" and not beat.HasField("key")
            for beat in told(gateway, "work_beat")
        )
    )
    quick = to_message(stop_of(grace_seconds=0.0), step_pb2.StopStep())
    await send(gateway, task_token=b"t3", stop_step=quick)
    await gateway.until(lambda: sorted(ends(gateway)) == [b"t1", b"t2", b"t3"])
    answers = {end.task_token: end for end in told(gateway, "work_ended")}
    assert answers[b"t2"].stop_answer.was_running


async def test_an_order_that_fails_says_so(agent: StreamAgent, gateway: Gateway):
    clean = step_pb2.CleanWorkspace(pipeline_id="../outside", generation=1)
    await send(gateway, task_token=b"t1", clean_workspace=clean)
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert told(gateway, "work_ended")[0].failed.reason == reasons.RUNNER_ERROR
