"""Whatever makes room is offered at once: here no sweep runs that would do so later."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from gamepipe.model.node import Location
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.ports import NodeChange
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.v1 import node_pb2
from gamepipe.v1.node_pb2_grpc import GameNodeServiceStub
from store.store import GamePipelineStore
from tests.gateway.conftest import Gateway, running
from tests.gateway.stream import opened, request
from tests.gateway.test_latency import ONE as NEAR
from tests.gateway.test_latency import STOCKHOLM, SWEDEN, probes
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.node import now, register, until_stopped
from tests.workflows.shapes import service_up
from worker import build_worker

ONE = {"name": "one", "steps": [{"name": "only", "type": "command", "command": "true"}]}
LARGE = node_pb2.NodeFacts(cpu=64, memory_bytes=1 << 36, features=["command"])
GAME = {
    "name": "game",
    "resources": {"cpu": 64},
    "steps": [{"name": "game", "type": "service", "container": {"image": "games/one:1"}}],
}


async def queued(gateway: Gateway, definition: object, **more: object) -> str:
    """A pipeline that waits."""
    pipeline_id = await gateway.submit(definition, **more)

    async def waits() -> bool:
        return await gateway.store.placements.queue_entry(pipeline_id) is not None

    await eventually(waits, what=f"{pipeline_id} to wait")
    return pipeline_id


async def placed(gateway: Gateway, pipeline_id: str) -> bool:
    return bool((await gateway.http.get(f"/pipelines/{pipeline_id}")).json()["node_id"])


async def changed(gateway: Gateway, **body: object) -> None:
    assert (await gateway.http.patch("/nodes/n1", json=body)).status_code == 200


async def test_those_who_are_served_before_a_newcomer_hear_of_it(gateway: Gateway) -> None:
    waiting = await queued(gateway, ONE)
    await gateway.node("n1")  # nobody is told of it
    newcomer = await gateway.submit(ONE)
    assert (await gateway.ended(newcomer))["state"] == "completed"
    assert (await gateway.ended(waiting))["node_id"] == "n1"


async def test_a_node_that_joins_with_more_than_before(
    gateway: Gateway, agent: GameNodeServiceStub
) -> None:
    await gateway.node("n1")
    waiting = await queued(gateway, ONE | {"resources": {"cpu": 100}})
    facts = node_pb2.NodeFacts(cpu=128, memory_bytes=1 << 36, features=["command"])
    await agent.Register(request(facts=facts))
    assert (await gateway.ended(waiting))["node_id"] == "n1"


MATCHING = ONE | {"placement": {"match": [{"key": "disk", "op": "in", "values": ["ssd"]}]}}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a drain that is called off": (ONE, {"state": "normal"}),
    "labels": (MATCHING, {"state": "normal", "labels": {"disk": "ssd"}}),
    "a location": (
        ONE | {"placement": {"region": "north"}},
        {"state": "normal"} | STOCKHOLM,
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_node_that_people_change(gateway: Gateway, what: str) -> None:
    definition, change = CHANGES[what]
    await gateway.node("n1")
    maintenance = NodeChange(state=NodeState.MAINTENANCE)
    await gateway.store.nodes.update("n1", maintenance, now=now())
    waiting = await queued(gateway, definition)
    await changed(gateway, **change)
    assert (await gateway.ended(waiting))["state"] == "completed"


async def test_a_node_whose_stream_is_back(gateway: Gateway, agent: GameNodeServiceStub) -> None:
    registered = await agent.Register(request())
    await gateway.store.nodes.mark("n1", Connectivity.SUSPECT, now=now())
    waiting = await queued(gateway, ONE)
    await opened(agent, registered)
    assert (await gateway.http.get("/nodes/n1")).json()["connectivity"] == "online"

    await eventually(lambda: placed(gateway, waiting), what="it to be placed")


async def _probed(gateway: Gateway, agent: GameNodeServiceStub) -> None:
    assert (await gateway.http.post("/nodes/n1/latency", json=probes(5))).status_code == 200


async def _measured(gateway: Gateway, agent: GameNodeServiceStub) -> None:
    registered = await agent.Register(request(facts=LARGE))
    trips = [node_pb2.RoundTrip(region="se", milliseconds=5)]
    await agent.ReportMetrics(
        node_pb2.ReportMetricsRequest(
            node_id="n1",
            session=registered.session,
            session_key=registered.session_key,
            round_trips=trips,
        )
    )


@pytest.mark.parametrize("report", [_probed, _measured])
async def test_a_latency_that_is_reported(
    gateway: Gateway,
    agent: GameNodeServiceStub,
    report: Callable[[Gateway, GameNodeServiceStub], Awaitable[None]],
) -> None:
    await gateway.node("n1")
    waiting = await queued(gateway, NEAR)
    await report(gateway, agent)
    assert (await gateway.ended(waiting))["node_id"] == "n1"


async def test_a_region_that_lies_where_its_nodes_are_again(gateway: Gateway) -> None:
    await gateway.node("n1")
    near = NodeChange(location=Location(region="se", **SWEDEN))
    await gateway.store.nodes.update("n1", near, now=now())
    await gateway.http.put("/regions/se", json={"latitude": -33.9, "longitude": 151.2})
    waiting = await queued(gateway, NEAR)
    assert (await gateway.http.delete("/regions/se")).status_code == 204
    assert (await gateway.ended(waiting))["node_id"] == "n1"


async def test_a_game_that_is_stopped_once_its_node_has_tidied_up(
    gateway: Gateway, agent: GameNodeServiceStub
) -> None:
    await gateway.node("n1", game=service_up)
    await gateway.ended(await gateway.submit(GAME))
    waiting = await queued(gateway, ONE | {"resources": {"cpu": 64}})
    (game,) = (await gateway.http.get("/instances", params={"live": True})).json()
    assert (await gateway.http.post(f"/instances/{game['id']}/stop")).status_code == 202
    await eventually(lambda: gateway.store.nodes.stop_orders("n1"), what="the order to tidy up")
    stream = await opened(agent, await agent.Register(request(facts=LARGE)))
    order = (await stream.hear("stop_order")).stop_order
    await stream.say(stop_confirmed=node_pb2.StopConfirmed(order_id=order.order_id))
    await eventually(lambda: placed(gateway, waiting), what="it to be placed")


@pytest.mark.parametrize("change", [{"priority": 5}, {"definition": ONE}])
async def test_one_that_waits_and_is_changed(gateway: Gateway, change: dict[str, object]) -> None:
    await gateway.node("n1", only=until_stopped)
    large = ONE | {"resources": {"cpu": 100}}
    waiting = await queued(gateway, large)
    await register(gateway.store, "n1", cpu=128 if "priority" in change else 64)
    answer = await gateway.http.patch(f"/pipelines/{waiting}", json=change)
    assert answer.status_code == 200, answer.text
    await eventually(lambda: placed(gateway, waiting), what="it to be placed")


# --- room that others make -----------------------------------------------------------------------


HALF = ONE | {"resources": {"cpu": 32}}
MAKES_ROOM = HALF | {"placement": {"preemptible": True}}
WHOLE = ONE | {"resources": {"cpu": 64}}


async def _firm_ends(gateway: Gateway) -> None:
    await gateway.http.post("/pipelines/firm/cancel")


async def _waiting_rises(gateway: Gateway) -> None:
    await gateway.http.patch("/pipelines/high", json={"priority": 5})


async def _running_falls(gateway: Gateway) -> None:
    await gateway.http.patch("/pipelines/low", json={"priority": -1})


async def _node_grows(gateway: Gateway) -> None:
    await register(gateway.store, "n1", cpu=96)
    await changed(gateway, labels={"grown": "yes"})


ASKS: dict[str, tuple[dict[str, Any], Callable[[Gateway], Awaitable[None]]]] = {
    "a pipeline ends": (WHOLE | {"priority": 5}, _firm_ends),
    "one that waits rises": (HALF, _waiting_rises),
    "one that runs falls": (HALF, _running_falls),
    "a node grows": (WHOLE | {"priority": 5}, _node_grows),
}


@pytest.mark.parametrize("what", ASKS)
async def test_those_that_are_to_make_room_hear_of_it(gateway: Gateway, what: str) -> None:
    """Half of the node is held for good, half of it by one that may be preempted."""
    definition, change = ASKS[what]
    node = await gateway.node("n1", only=until_stopped)
    await gateway.submit(HALF, id="firm")
    await gateway.submit(MAKES_ROOM, id="low")
    await eventually(lambda: len(node.assignments) == 2, what="both to run")
    high = await queued(gateway, definition, id="high")
    assert node.stops == []
    await change(gateway)
    await eventually(lambda: placed(gateway, high), what="it to be placed")
    found = (await gateway.http.get("/pipelines/low/placement")).json()
    assert found["generations"][0]["preempted_for"] == high


async def test_what_was_left_for_one_that_is_canceled(gateway: Gateway) -> None:
    """The other one that was to leave has yet to stop."""
    node = await gateway.node("n1", only=until_stopped)
    quick = await gateway.submit(MAKES_ROOM, id="quick")
    slow = await gateway.submit(MAKES_ROOM | {"timeouts": {"grace": "1h"}}, id="slow")
    await eventually(lambda: len(node.assignments) == 2, what="both to run")
    node.patient = True
    high = await queued(gateway, WHOLE | {"priority": 5}, id="high")
    await eventually(lambda: len(node.stops) == 2, what="both to be stopped")
    await gateway.http.post(f"/pipelines/{quick}/cancel", json={"grace_seconds": 0})
    await gateway.ended(quick)
    waiting = await queued(gateway, HALF, id="small")
    await gateway.http.post(f"/pipelines/{high}/cancel")
    await eventually(lambda: placed(gateway, waiting), what="it to be placed")
    assert await placed(gateway, slow)


# --- with reservations ---------------------------------------------------------------------------


@pytest.fixture
async def reserving(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> AsyncIterator[Gateway]:
    """A gateway and a worker where whoever waits reserves at once."""
    order = OrderPolicy(reserve_after=timedelta(milliseconds=1))
    store = await GamePipelineStore.open(store_url, order=order)
    async with (
        running(store_url, temporal_server, temporal_client, reserve_after=0.001) as gateway,
        build_worker(temporal_client, store),
    ):
        yield gateway
    await store.close()


@pytest.mark.parametrize("how", ["deleted", "canceled", "timed out"])
async def test_what_was_reserved_for_one_that_waits_no_more(reserving: Gateway, how: str) -> None:
    gateway = reserving
    node = await gateway.node("n1", only=until_stopped)
    half = ONE | {"resources": {"cpu": 32}}
    await gateway.submit(half, id="runs")
    await node.started["only"].wait()
    whole = ONE | {"resources": {"cpu": 64}, "timeouts": {"queue": "3s" if "out" in how else "1h"}}
    large = await queued(gateway, whole, id="large")
    waiting = await queued(gateway, half, id="small")
    if how == "deleted":
        await gateway.http.delete(f"/pipelines/{large}", params={"force": True})
    elif how == "canceled":
        await gateway.http.post(f"/pipelines/{large}/cancel")

    async def runs() -> bool:
        return len(node.assignments) == 2

    await eventually(runs, what=f"{waiting} to run")
