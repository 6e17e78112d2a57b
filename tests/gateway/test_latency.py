"""What clients report of the network, where operators say that regions are, and what they see."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gamepipe.agent.settings import AgentSettings
from gamepipe.scheduling.probe import FORGOTTEN
from tests.agent.running import RunningAgent
from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import reason
from tests.waiting import eventually
from tests.workflows.node import register

ONE = {
    "name": "near",
    "placement": {"player_region": "se", "max_latency_ms": 40},
    "steps": [{"name": "only", "type": "command", "command": "true"}],
}
SWEDEN = {"latitude": 59.3, "longitude": 18.1}
STOCKHOLM = {"location": {"region": "north", "latitude": 59.4, "longitude": 17.9}}


def probes(*rtts: float, **more: object) -> dict[str, object]:
    return {"probes": [{"from": "se", "rtt_ms": rtt} | more for rtt in rtts]}


@pytest.fixture(scope="module")
async def watched(quiet_gateway: Gateway) -> Gateway:
    """It knows the node n1, of which nothing is reported."""
    await register(quiet_gateway.store, "n1")
    return quiet_gateway


async def test_reported_probes_are_added_up_and_shown(gateway: Gateway) -> None:
    for name in ("n1", "n2"):
        await register(gateway.store, name)
    (way,) = (await gateway.http.post("/nodes/n1/latency", json=probes(30, 32, 31))).json()
    assert (way["from"], way["from_node"]) == ("se", None)
    assert way["measured"]["rtt_ms"] == 31
    both = {"probes": [{"from_node": "n2", "rtt_ms": 2}, {"from": "se", "rtt_ms": 31, "count": 7}]}
    assert (await gateway.http.post("/nodes/n1/latency", json=both)).status_code == 200
    region, other = (await gateway.http.get("/nodes/n1/latency")).json()
    assert (region["from"], region["source"]) == ("se", "measured")
    assert region["ms"] == pytest.approx(31, abs=1)
    assert region["error_ms"] > 0
    assert region["measured"]["samples"] == 10
    assert (other["from"], other["from_node"], other["ms"]) == (None, "n2", 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "probes"),
        ({"probes": []}, "probes"),
        (probes(*[1.0] * 1001), "probes"),
        (probes(0), "rtt_ms"),
        (probes(-1), "rtt_ms"),
        (probes(1e9), "rtt_ms"),
        (probes(20, count=0), "count"),
        (probes(20, from_node="n2"), "one of them"),
        ({"probes": [{"rtt_ms": 20}]}, "one of them"),
        ({"probes": [{"from_node": "n1", "rtt_ms": 20}]}, "the node itself"),
        ({"probes": [{"from": "", "rtt_ms": 20}]}, "from"),
        ({"probes": [{"from": "two\nlines", "rtt_ms": 20}]}, "one line"),
        (probes(20, at="2001-01-01T00:00:00Z"), f"{FORGOTTEN.days} days"),
        (probes(20, at=(datetime.now(UTC) + timedelta(days=1)).isoformat()), "future"),
        (probes(20, at="2026-01-01T00:00:00"), "at"),
        (probes(20, colour="red"), "colour"),
    ],
)
async def test_a_wrong_report_says_what_would_be_right_and_adds_nothing(
    watched: Gateway, body: object, said: str
) -> None:
    answer = await watched.http.post("/nodes/n1/latency", json=body)
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert said in answer.json()["detail"]
    assert (await watched.http.get("/nodes/n1/latency")).json() == []


async def test_every_mistake_of_a_report_is_told(watched: Gateway) -> None:
    old = {"from": "se", "rtt_ms": 3, "at": "2001-01-01T00:00:00Z"}
    body = {"probes": [old, {"from": "se", "rtt_ms": 3}, {"from_node": "n1", "rtt_ms": 3}]}
    said = (await watched.http.post("/nodes/n1/latency", json=body)).json()["detail"]
    assert "probes[0]" in said
    assert "probes[1]" not in said
    assert "probes[2]" in said


async def test_numbers_that_are_none_are_refused(watched: Gateway) -> None:
    headers = {"content-type": "application/json"}
    for path, body in (
        ("/nodes/n1/latency", '{"probes": [{"from": "se", "rtt_ms": NaN}]}'),
        ("/regions/se", '{"latitude": NaN, "longitude": 1}'),
        ("/regions/se", '{"latitude": 1, "longitude": Infinity}'),
    ):
        method = "PUT" if "regions" in path else "POST"
        answer = await watched.http.request(method, path, content=body, headers=headers)
        assert reason(answer) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize("transport", ["temporal", "grpc"])
async def test_an_agent_measures_the_ways_that_it_is_told_to(
    gateway: Gateway, tmp_path: Path, transport: str
) -> None:
    place = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with place:
        settings = AgentSettings(
            node_id="prober",
            transport=transport,  # type: ignore[arg-type]
            gateways=(gateway.grpc_address,),
            data_dir=tmp_path / "agent",
            docker_url="",
            probes=f"here=127.0.0.1:{place.sockets[0].getsockname()[1]},gone=127.0.0.1:1",  # type: ignore[arg-type]
            probe_interval=0.1,
        )
        agent = await RunningAgent(settings).until_ready()

        async def measured() -> dict[str, float]:
            ways = (await gateway.http.get("/nodes/prober/latency")).json()
            return {way["from"]: way["measured"]["rtt_ms"] for way in ways if way["measured"]}

        found = await eventually(measured)
        assert await agent.end() == 0
    assert set(found) == {"here"}
    assert 0 < found["here"] < 1000


async def test_latencies_of_no_node_are_not_found(watched: Gateway) -> None:
    assert reason(await watched.http.get("/nodes/ghost/latency")) == (404, "NOT_FOUND")
    ghost = await watched.http.post("/nodes/ghost/latency", json=probes(20))
    assert reason(ghost) == (404, "NOT_FOUND")
    from_ghost = {"probes": [{"from_node": "ghost", "rtt_ms": 20}]}
    assert reason(await watched.http.post("/nodes/n1/latency", json=from_ghost))[0] == 404


async def test_regions_are_said_read_and_forgotten(gateway: Gateway) -> None:
    await register(gateway.store, "n1")
    await gateway.http.patch("/nodes/n1", json=STOCKHOLM)
    (north,) = (await gateway.http.get("/regions")).json()
    assert (north["name"], north["latitude"], north["updated_at"]) == (
        "north",
        pytest.approx(59.4),
        None,
    )
    said = (await gateway.http.put("/regions/se", json=SWEDEN)).json()
    assert (said["name"], said["latitude"], said["longitude"]) == ("se", 59.3, 18.1)
    assert (await gateway.http.get("/regions/se")).json() == said
    assert (await gateway.http.delete("/regions/se")).status_code == 204
    assert reason(await gateway.http.delete("/regions/se")) == (404, "NOT_FOUND")
    assert reason(await gateway.http.get("/regions/se")) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("se", {"latitude": 91, "longitude": 0}),
        ("se", {"latitude": 0, "longitude": 181}),
        ("se", {"latitude": 0}),
        ("x" * 254, SWEDEN),
        ("two%0Alines", SWEDEN),
    ],
)
async def test_a_region_that_is_none_is_refused(watched: Gateway, name: str, body: object) -> None:
    answer = await watched.http.put(f"/regions/{name}", json=body)
    assert reason(answer) == (422, "INVALID_REQUEST")


async def test_who_waits_for_a_latency_to_be_known_is_placed_once_it_is(gateway: Gateway) -> None:
    await gateway.node("n1")
    await gateway.http.patch("/nodes/n1", json=STOCKHOLM)
    pipeline_id = await gateway.submit(ONE)
    path = f"/pipelines/{pipeline_id}/placement"

    async def waits() -> bool:
        return bool((await gateway.http.get(path)).json()["waiting"])

    await eventually(waits, what="it to wait")
    (verdict,) = (await gateway.http.get(path)).json()["verdicts"]
    assert verdict["code"] == "LATENCY_UNKNOWN"
    assert "report probes from there" in verdict["message"]
    await gateway.http.put("/regions/se", json=SWEDEN)
    assert (await gateway.ended(pipeline_id))["node_id"] == "n1"


async def test_the_schema_shows_how_probes_are_reported(watched: Gateway) -> None:
    root = watched.http.base_url.copy_with(path="/")
    schema = (await watched.http.get(root.join("/openapi.json"))).json()
    report = schema["paths"]["/api/v1/nodes/{node_id}/latency"]["post"]
    assert "requestBody" in report
    body = schema["components"]["schemas"]["LatencyBody"]
    assert "rtt_ms" in json.dumps(body["examples"])
    assert "from" in schema["components"]["schemas"]["ProbeBody"]["properties"]
