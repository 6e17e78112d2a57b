"""The stream to a real gRPC gateway."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest

from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.link import SessionSuperseded
from gamepipe.agent.observation import Observation
from gamepipe.agent.registration import registration
from gamepipe.agent.stop_order import StopOrdered
from gamepipe.agent.values import ValuesRefused, ValuesUnauthenticated, ValuesUnavailable
from gamepipe.model.state import InstanceState
from gamepipe.v1 import node_pb2
from tests.agent.gateway import Gateway
from tests.agent.link_rig import FACTS, KEY, SETTINGS, Rig, of_kind, rig
from tests.waiting import eventually

__all__ = ["rig"]


async def test_a_gateway_that_answers_no_heartbeats_by_its_features_is_not_left(
    rig: Rig, gateway: Gateway
):
    """An older one: what the stream takes has to do."""
    gateway.features, gateway.take_heartbeats, gateway.ttl_seconds = {"pace"}, False, 0.5
    await rig.start()
    assert list(gateway.streams[0].hello.features) == ["pace"]
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) >= 12)
    assert (len(gateway.streams), rig.link.silent_seconds < 0.5) == (1, True)


async def test_hello_comes_first_and_heartbeats_follow(rig: Rig, gateway: Gateway):
    await rig.start()
    assert (gateway.streams[0].hello.node_id, gateway.streams[0].hello.session) == ("node-1", 1)
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) >= 3)
    beat = of_kind(gateway, "heartbeat")[0]
    assert (beat.cpu_share, beat.running_steps) == (0.5, 3)
    assert rig.link.silent_seconds < 1.0


async def test_it_comes_back_with_the_same_session(rig: Rig, gateway: Gateway):
    gateway.instance_ids = ["p.g1.s0"]
    await rig.start()
    await gateway.streams[0].down.put(None)
    await gateway.until(lambda: len(gateway.streams) == 2)
    assert gateway.streams[1].hello.session == 1
    assert len(gateway.registered) == 1
    await gateway.stop()
    await gateway.start()
    await gateway.until(lambda: len(gateway.streams) == 3)
    assert rig.handler.welcomes[:2] == [("p.g1.s0",)] * 2


async def test_a_node_that_changed_registers_anew_on_a_new_stream(rig: Rig, gateway: Gateway):
    await rig.start()
    rig.link.declare(registration(SETTINGS, FACTS))
    rig.link.declare(registration(SETTINGS, replace(FACTS, docker_version="29.1")))
    await gateway.until(lambda: len(gateway.streams) == 2)
    assert [one.facts.docker_version for one in gateway.registered] == ["", "29.1"]
    assert [stream.hello.session for stream in gateway.streams] == [1, 2]
    await gateway.until(lambda: len(rig.handler.welcomes) == 2 and of_kind(gateway, "heartbeat"))
    assert rig.link.silent_seconds < 1.0


async def test_an_observation_is_told_until_it_is_stored(rig: Rig, gateway: Gateway):
    gateway.store_observations = False
    await rig.start()
    exited = Observation(
        instance_id="p.g1.s0", state=InstanceState.EXITED, exit_code=0, message="bye"
    )
    rig.outbox.observe(Observation(instance_id="p.g1.s0", state=InstanceState.UNHEALTHY))
    rig.outbox.observe(exited)
    rig.outbox.observe(exited)
    await gateway.until(lambda: len(of_kind(gateway, "instance_observed")) == 2)
    gateway.store_observations = True
    await gateway.streams[0].down.put(None)
    await gateway.until(lambda: len(of_kind(gateway, "instance_observed")) == 4)
    told = of_kind(gateway, "instance_observed")
    assert [one.state for one in told] == ["unhealthy", "exited"] * 2
    assert told[1].HasField("exit_code")
    assert (told[1].exit_code, told[1].message) == (0, "bye")
    sequences = [m.sequence for m in gateway.received if m.HasField("instance_observed")]
    assert sequences[:2] == sequences[2:] == sorted(set(sequences))
    beats = len(of_kind(gateway, "heartbeat"))
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) > beats + 1)
    await gateway.streams[1].down.put(None)
    await gateway.until(lambda: len(gateway.streams) == 3)
    beats = len(of_kind(gateway, "heartbeat"))
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) > beats + 1)
    assert len(of_kind(gateway, "instance_observed")) == 4


async def test_a_stop_order_is_confirmed_once_it_was_carried_out(rig: Rig, gateway: Gateway):
    rig.handler.fail_orders = 1
    await rig.start()
    order = node_pb2.StopOrder(order_id=5, pipeline_id="p", generation=2, step_index=0)
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(stop_order=order))
    await gateway.until(lambda: bool(of_kind(gateway, "stop_confirmed")))
    assert of_kind(gateway, "stop_confirmed")[0].order_id == 5
    wanted = StopOrdered(order_id=5, pipeline_id="p", generation=2, step_index=0, instance_id="")
    assert rig.handler.orders == [wanted, wanted]


async def test_an_order_without_a_step_means_the_whole_generation(rig: Rig, gateway: Gateway):
    await rig.start()
    order = node_pb2.StopOrder(order_id=6, pipeline_id="p", generation=2)
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(stop_order=order))
    await gateway.until(lambda: bool(of_kind(gateway, "stop_confirmed")))
    assert rig.handler.orders[0].step_index is None


async def test_the_nodes_state_comes_down(rig: Rig, gateway: Gateway):
    await rig.start()
    changed = node_pb2.NodeStateChanged(state="maintenance")
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(node_state_changed=changed))
    order = node_pb2.StopOrder(order_id=1, pipeline_id="p", generation=1)
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(stop_order=order))
    await gateway.until(lambda: bool(of_kind(gateway, "stop_confirmed")))
    assert rig.handler.states == ["maintenance"]


async def test_a_superseded_session_ends_the_link(rig: Rig, gateway: Gateway):
    await rig.start()
    superseded = node_pb2.Superseded(newest_session=2)
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(superseded=superseded))
    with pytest.raises(SessionSuperseded, match="node-1"):
        await asyncio.wait_for(rig.task, 20)


async def test_a_gateway_that_knows_only_older_sessions_is_registered_with_anew(
    rig: Rig, gateway: Gateway
):
    """Its store went back to a backup: nobody superseded this agent."""
    gateway.session = 9
    await rig.start()
    gateway.session = 2
    superseded = node_pb2.Superseded(newest_session=2)
    await gateway.streams[0].down.put(node_pb2.ConnectResponse(superseded=superseded))
    await gateway.until(lambda: len(gateway.streams) == 2)
    assert [stream.hello.session for stream in gateway.streams] == [10, 3]


async def test_silence_is_counted_from_the_last_heartbeat_that_was_heard(
    rig: Rig, gateway: Gateway
):
    await rig.start()
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) > 3)
    heard = time.monotonic()
    await gateway.stop()
    await eventually(lambda: rig.link.silent_seconds > 0.5, what="silence")
    assert rig.link.silent_seconds < time.monotonic() - heard + 0.5


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, ValuesRefused),
        (grpc.StatusCode.NOT_FOUND, ValuesRefused),
        (grpc.StatusCode.UNAUTHENTICATED, ValuesUnauthenticated),
        (grpc.StatusCode.UNAVAILABLE, ValuesUnavailable),
        (grpc.StatusCode.INTERNAL, ValuesUnavailable),
    ],
)
async def test_errors_of_values_say_whether_to_ask_again(rig: Rig, gateway: Gateway, code, error):
    gateway.values_error = code
    with pytest.raises(error):
        await GatewayValues(rig.channel, "node-1").fetch(KEY)


async def test_values_refused_to_a_session_that_was_replaced_are_asked_for_again(
    rig: Rig, gateway: Gateway
):
    """The gateway knows of the newer session before this agent does."""
    await rig.link.register()
    gateway.values_error = grpc.StatusCode.PERMISSION_DENIED
    rig.channel.registering = True
    with pytest.raises(ValuesUnavailable):
        await GatewayValues(rig.channel, "node-1").fetch(KEY)


async def test_a_stream_whose_heartbeats_are_not_answered_is_left(rig: Rig, gateway: Gateway):
    """It stands, but leads nowhere: no packet comes back, and none says so."""
    gateway.ttl_seconds, gateway.take_heartbeats = 1.0, False
    await rig.start()
    await gateway.until(lambda: len(gateway.streams) == 2)
    gateway.take_heartbeats = True
    beats = len(of_kind(gateway, "heartbeat"))
    await gateway.until(lambda: len(of_kind(gateway, "heartbeat")) > beats + 10)
    assert rig.link.silent_seconds < 1.0
    assert len(gateway.streams) <= 3
