"""Why, why not and what if, through REST."""

from typing import Any

import pytest
from temporalio.client import Client

from gamepipe.model.spec import PlacementRequest
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.ports import NodeChange
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order_policy import OrderPolicy
from gateway.explanation import PlacementView
from gateway.forecast_view import PlanView
from gateway.planning import MOST_COPIES
from store.store import GamePipelineStore
from tests.gateway.conftest import Gateway, running
from tests.gateway.test_pipelines import HELLO, TWO, reason
from tests.store.shapes import new, place_request, registration
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.node import now

MAKES_ROOM = PlacementRequest(preemptible=True)
HUGE = HELLO | {"resources": {"cpu": 10}}


async def placement(gateway: Gateway, pipeline_id: str, **query: Any) -> dict[str, Any]:
    answer = await gateway.http.get(f"/pipelines/{pipeline_id}/placement", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def waiting(gateway: Gateway, pipeline_id: str) -> dict[str, Any]:
    async def asked() -> dict[str, Any] | None:
        found = await placement(gateway, pipeline_id)
        return found if found["waiting"] else None

    return dict(await eventually(asked, what=f"{pipeline_id} to wait"))


async def add_node(gateway: Gateway, node_id: str, **facts: Any) -> None:
    await gateway.store.nodes.register(registration(node_id, **facts), now=now())


async def test_a_placed_pipeline_tells_its_node_beside_the_runners_up(gateway: Gateway) -> None:
    await gateway.node("n1")
    await add_node(gateway, "n2", cpu=64)
    pipeline_id = await gateway.submit(HELLO)
    await gateway.ended(pipeline_id)
    found = await placement(gateway, pipeline_id)
    (generation,) = found["generations"]
    why = generation["explanation"]
    assert (why["nodes"], why["candidates"]) == (2, 2)
    assert [one["node_id"] for one in why["ranked"]] == [generation["node_id"], "n2"]
    costs = [one["cost"] for one in why["ranked"]]
    assert costs == sorted(costs)
    assert {"packing", "load"} <= why["ranked"][0]["terms"].keys()
    assert (found["waiting"], found["causes"], found["position"]) == (False, [], None)


async def test_a_waiting_pipeline_tells_its_place_every_node_and_what_would_help(
    gateway: Gateway,
) -> None:
    await add_node(gateway, "n1", cpu=8)
    await add_node(gateway, "n2", cpu=8)
    await gateway.store.nodes.mark("n2", Connectivity.LOST, now=now())
    first = await gateway.submit(HUGE)
    await waiting(gateway, first)
    second = await gateway.submit(HUGE | {"priority": 5})
    found = await waiting(gateway, second)
    assert (found["position"], found["queue_length"]) == (1, 2)
    assert (await placement(gateway, first))["position"] == 2
    assert {one["node_id"]: one["code"] for one in found["verdicts"]} == {
        "n1": "CPU_SHORT",
        "n2": "NODE_NOT_ONLINE",
    }
    assert sum(one["count"] for one in found["causes"]) == 2
    assert found["remedies"][0]["text"] == "ask for 8 cores instead of 10: then n1 fits"
    short = await placement(gateway, second, verdicts=1)
    assert [one["node_id"] for one in short["verdicts"]] == ["n1"]
    assert len(short["causes"]) == 2


async def test_the_answer_follows_the_fleet_not_the_day_that_it_was_queued(
    gateway: Gateway,
) -> None:
    await add_node(gateway, "n1", cpu=1)
    pipeline_id = await gateway.submit(HUGE)
    assert (await waiting(gateway, pipeline_id))["verdicts"][0]["code"] == "CPU_SHORT"
    await gateway.store.nodes.update("n1", NodeChange(state=NodeState.MAINTENANCE), now=now())
    found = await placement(gateway, pipeline_id)
    assert [one["code"] for one in found["verdicts"]] == ["NODE_NOT_NORMAL"]
    await add_node(gateway, "n2", cpu=16)
    fits = await placement(gateway, pipeline_id)
    assert (fits["fits"], fits["verdicts"]) == ("n2", [])


async def test_a_limit_is_told_instead_of_the_nodes(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    order = OrderPolicy(limits=Limits(most={"tenant": {"acme": 0}}))
    store = await GamePipelineStore.open(store_url, order=order)
    await store.nodes.register(registration("n1"), now=now())
    await store.pipelines.add(new("p1", tenant="acme", priority=3), now=now())
    await store.placements.place(place_request("p1"), now=now())
    await store.close()
    limits = {"tenant": {"acme": 0}}
    async with running(store_url, temporal_server, temporal_client, limits=limits) as gateway:
        found = await placement(gateway, "p1")
        planned = await plan(gateway, HELLO | {"tenant": "acme"}, count=2)
    assert (found["reason"], found["priority"], found["position"]) == ("LIMIT_REACHED", 3, 1)
    assert "acme" in found["summary"]
    assert (found["fits"], found["verdicts"], found["remedies"]) == ("", [], [])
    assert (planned["fitting"], planned["reason"]) == (0, "LIMIT_REACHED")
    assert planned["refused"]["summary"] == found["summary"]


async def test_an_unknown_pipeline_has_no_placement(gateway: Gateway) -> None:
    answer = await gateway.http.get("/pipelines/nothing/placement")
    assert reason(answer) == (404, "NOT_FOUND")


# --- plans ---------------------------------------------------------------------------------------


async def plan(gateway: Gateway, definition: object, **query: Any) -> dict[str, Any]:
    answer = await gateway.http.post(
        "/pipelines/plan", json={"definition": definition}, params=query
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_plan_says_how_many_copies_fit_and_where_it_stops(gateway: Gateway) -> None:
    await add_node(gateway, "n1", cpu=8)
    await add_node(gateway, "n2", cpu=4)
    found = await plan(gateway, HELLO | {"resources": {"cpu": 2}}, count=9)
    assert (found["asked"], found["fitting"], found["nodes"]) == (9, 6, 2)
    assert {one["node_id"]: one["count"] for one in found["placed"]} == {"n1": 4, "n2": 2}
    assert found["first"]["ranked"][0]["node_id"] == found["placed"][0]["node_id"]
    assert [one["code"] for one in found["refused"]["causes"]] == ["CPU_SHORT"]
    assert found["refused"]["remedies"][0]["text"] == "free 2 cores on any of n1 and n2"
    assert (await gateway.http.get("/pipelines")).json()["total"] == 0
    assert await gateway.store.placements.live_allocations() == ()


async def test_a_plan_that_fits_has_nothing_against_it(gateway: Gateway) -> None:
    await add_node(gateway, "n1")
    found = await plan(gateway, HELLO)
    assert (found["fitting"], found["refused"], found["queue_length"]) == (1, None, 0)


async def test_a_plan_says_who_would_make_room(gateway: Gateway) -> None:
    await add_node(gateway, "n1", cpu=2)
    firm, low = new("firm", cpu=1.0), new("low", cpu=1.0, placement=MAKES_ROOM)
    for one in (firm, low):
        await gateway.store.pipelines.add(one, now=now())
        await gateway.store.placements.place(place_request(one.id), now=now())
    found = await plan(gateway, HELLO | {"resources": {"cpu": 1}, "priority": 1}, count=3)
    assert (found["fitting"], found["reason"]) == (0, "NO_CAPACITY")
    assert found["preempting"] == [{"node_id": "n1", "count": 1, "victims": ["low"], "leaving": []}]
    assert await gateway.store.placements.asked_for_room() == ()


async def test_one_that_has_not_asked_for_a_node_yet_is_planned(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    """Here its workflow is not started yet, and it is as many as may wait."""
    store = await GamePipelineStore.open(store_url)
    await store.nodes.register(registration("n1", cpu=1), now=now())
    await store.pipelines.add(new("low", placement=MAKES_ROOM), now=now())
    await store.placements.place(place_request("low"), now=now())
    await store.pipelines.add(new("early", priority=1), now=now())
    await store.close()
    async with running(store_url, temporal_server, temporal_client, longest_queue=1) as gateway:
        found = await placement(gateway, "early")
        planned = await plan(gateway, HELLO)
    assert (found["waiting"], found["plan"]["fitting"]) == (False, 0)
    assert [one["victims"] for one in found["plan"]["preempting"]] == [["low"]]
    assert found["plan"]["queue_full"] == 0
    assert (planned["queue_full"], planned["reason"]) == (1, "QUEUE_FULL")
    assert "GAMEPIPE_LONGEST_QUEUE" in planned["refused"]["summary"]


async def test_a_plan_takes_yaml_and_bare_files_like_a_creation(gateway: Gateway) -> None:
    await add_node(gateway, "n1")
    text = "name: y\nargs: [W]\nsteps: [{type: command, command: 'echo ${{ args.W }}'}]\n"
    headers = {"content-type": "application/yaml"}
    path = "/pipelines/plan"
    yaml = await gateway.http.post(path, content=text, headers=headers, params={"arg": "W=1"})
    assert (yaml.status_code, yaml.json()["fitting"]) == (200, 1)
    assert (await gateway.http.post(path, json=TWO)).json()["fitting"] == 1
    unset = await gateway.http.post(path, content=text, headers=headers)
    assert reason(unset) == (422, "INVALID_PIPELINE")
    wrong = await gateway.http.post(path, json={"name": "x", "steps": [{"type": "comand"}]})
    assert reason(wrong) == (422, "INVALID_PIPELINE")


@pytest.mark.parametrize("count", [0, -1, MOST_COPIES + 1, "many"])
async def test_a_count_has_bounds(gateway: Gateway, count: object) -> None:
    query = {"count": str(count)}
    answer = await gateway.http.post("/pipelines/plan", json=HELLO, params=query)
    assert reason(answer)[0] == 422


async def test_an_empty_fleet_says_how_to_begin(gateway: Gateway) -> None:
    found = await plan(gateway, HELLO, count=3)
    assert found["fitting"] == 0
    assert "gamepipe agent" in found["refused"]["summary"]


async def test_the_schema_shows_examples_that_are_right(gateway: Gateway) -> None:
    address = f"http://127.0.0.1:{gateway.settings.rest_port}/openapi.json"
    document = (await gateway.http.get(address)).json()
    assert "/api/v1/pipelines/plan" in document["paths"]
    schemas = document["components"]["schemas"]
    for view in (PlacementView, PlanView):
        examples = schemas[view.__name__]["examples"]
        assert examples
        for example in examples:
            view.model_validate(example)
