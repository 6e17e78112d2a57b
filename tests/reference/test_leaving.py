"""Gateways that can do nothing more for their nodes let them go; others keep them."""

import time
from urllib.parse import urlsplit

import grpc
import pytest
from temporalio.client import Client

from gamepipe.v1 import node_pb2
from gateway.awake import LONGEST_TICK_SECONDS, AwakeClock
from tests.cable import Cable, cable_to
from tests.gateway.conftest import Gateway, running
from tests.reference.client import ReferenceNode
from tests.reference.test_node import OK, shown, submit
from tests.temporal_fixtures import TemporalServer


async def moves(gateway: Gateway, losing: Gateway, cable: Cable, pipeline_id: str) -> None:
    """A node whose gateway loses what is behind the cable takes its step along to the other one."""
    losing.keep_workflows = True
    node = ReferenceNode("ref")
    await node.register(losing.grpc_address)
    await node.connect()
    await submit(gateway, pipeline_id)
    work = await node.take()
    await node.running(work)
    await cable.cut()
    await node.until_ended()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.connect(losing.grpc_address)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await node.connect(gateway.grpc_address)
    again = await node.take()  # nobody could renew it for longer than its heartbeat timeout
    assert (again.run_step.attempt, again.run_step.dispatch > 1) == (1, True)
    assert await node.end(again, outputs={"size": "1"}) == OK
    record = await gateway.ended(pipeline_id)
    assert await node.end(work, outputs={"size": "1"}) == OK, "it ended so, under another token"
    assert record["state"] == "completed"
    events = (await gateway.http.get(f"/pipelines/{pipeline_id}/events")).json()
    states = [one["data"]["state"] for one in events if one["kind"] == "step_state_changed"]
    assert states.count("completed") == 1
    await node.leave()


async def test_a_gateway_that_loses_temporal_sends_its_nodes_to_one_that_has_it(
    gateway: Gateway, store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    host, _, port = temporal_server.address.partition(":")
    async with (
        cable_to(host, int(port)) as cable,
        running(
            store_url, temporal_server, temporal_client, temporal_address=cable.address
        ) as losing,
    ):
        await moves(gateway, losing, cable, "l1")


async def test_without_temporal_anywhere_nodes_stay_where_they_are(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    """Going elsewhere would help nobody, and cost the node its stream."""
    host, _, port = temporal_server.address.partition(":")
    async with (
        cable_to(host, int(port)) as cable,
        running(
            store_url, temporal_server, temporal_client, temporal_address=cable.address
        ) as only,
    ):
        node = ReferenceNode("ref")
        await node.register(only.grpc_address)
        await node.connect()
        await cable.cut()
        with pytest.raises(TimeoutError):
            await node.until_ended(seconds=5)  # longer than the TTL
        await node.leave()


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_a_gateway_that_loses_the_store_sends_its_nodes_to_one_that_has_it(
    gateway: Gateway, store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    parts = urlsplit(store_url)
    async with cable_to(parts.hostname or "", parts.port or 0) as cable:
        url = store_url.replace(f":{parts.port}/", f":{cable.port}/")
        async with running(url, temporal_server, temporal_client) as losing:
            await moves(gateway, losing, cable, "l2")


async def test_a_gateway_that_stood_still_gives_its_nodes_their_time_again(
    gateway: Gateway,
) -> None:
    node = ReferenceNode("ref", beats=False)
    await node.register(gateway.grpc_address)
    await node.connect()
    await node.beat()
    time.sleep(gateway.settings.node_ttl.total_seconds())  # noqa: ASYNC251 - nothing here runs
    with pytest.raises(TimeoutError):
        await node.until_ended(seconds=0.3)  # the watch looks five times a second
    await node.say(sequence=1, heartbeat=node_pb2.Heartbeat(running_steps=1))
    await node.until(lambda message: message.HasField("heartbeat_taken"))
    pipeline_id = await submit(gateway, "l3")
    await node.beat()
    assert await node.end(await node.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    assert (await shown(gateway, pipeline_id))["state"] == "completed"
    await node.leave()


def test_a_clock_that_stood_still_counts_only_the_time_in_which_it_ran() -> None:
    now = [100.0]
    clock = AwakeClock(lambda: now[0])
    for _ in range(10):
        now[0] += 0.2
        clock.time()
    assert clock.time() == pytest.approx(2.0)
    now[0] += 3600
    assert clock.time() == pytest.approx(2.0 + LONGEST_TICK_SECONDS)
    now[0] += 0.5
    assert clock.time() == pytest.approx(2.5 + LONGEST_TICK_SECONDS)
