"""GET /pipelines: every filter, alone and together, its order and its pages."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gamepipe.model.record import NewPipeline
from gamepipe.model.state import PipelineState
from gamepipe.wire import PlaceStatus
from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import reason
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration


def pipeline(pipeline_id: str, **changes: Any) -> NewPipeline:
    plain = new(pipeline_id)
    return replace(plain, spec=replace(plain.spec, **changes))


@pytest.fixture(scope="module")
async def fleet(quiet_gateway: Gateway) -> Gateway:
    """Three pipelines a minute apart: `a` ended, `b` runs on n1, `c` has not started."""
    store = quiet_gateway.store
    for number, one in enumerate(
        (
            pipeline("a", name="zeta", model="steam", labels={"team": "x", "env": "test"}),
            pipeline("b", name="alpha", model="steam", labels={"team": "y"}, priority=5),
            pipeline("c", name="midway", model="epic", labels={"team": "x"}, tenant="other"),
        )
    ):
        await store.pipelines.add(one, now=NOW + timedelta(minutes=number))
    await store.nodes.register(registration("n1"), now=NOW)
    placed = await store.placements.place(place_request("b"), now=NOW + timedelta(minutes=5))
    assert placed.status is PlaceStatus.PLACED
    await store.pipelines.update_status(
        "a", PipelineState.CANCELED, reason="X", message="", now=NOW + timedelta(minutes=9)
    )
    return quiet_gateway


def at(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "cba"),
        ({"sort_order": "asc"}, "abc"),
        ({"state": "running"}, "b"),
        ({"state": ["running", "canceled"]}, "ba"),
        ({"node_id": "n1"}, "b"),
        ({"template": "steam"}, "ba"),
        ({"tenant": "other"}, "c"),
        ({"name": "zeta"}, "a"),
        ({"label": "team=x"}, "ca"),
        ({"label": ["team=x", "env=test"]}, "a"),
        ({"start_time": at(1)}, "cb"),
        ({"end_time": at(1)}, "a"),
        ({"start_time": at(0.5), "end_time": at(1.5)}, "b"),
        ({"template": "steam", "state": "canceled", "label": "team=x"}, "a"),
        ({"sort_by": "name", "sort_order": "asc"}, "bca"),
        ({"sort_by": "priority"}, "bca"),
        ({"sort_by": "state", "sort_order": "asc"}, "acb"),
        ({"sort_by": "updated_at"}, "abc"),
        ({"sort_by": "ended_at"}, "acb"),
        ({"sort_by": "started_at"}, "cba"),
        ({"size": 2}, "cb"),
        ({"size": 2, "page": 2}, "a"),
        ({"size": 2, "page": 3}, ""),
    ],
)
async def test_pipelines_are_found_in_order(
    fleet: Gateway, query: dict[str, Any], ids: str
) -> None:
    answer = (await fleet.http.get("/pipelines", params=query)).json()
    assert "".join(one["id"] for one in answer["items"]) == ids
    if "size" in query:
        assert (answer["total"], answer["size"], answer["page"]) == (3, 2, query.get("page", 1))


@pytest.mark.parametrize("query", [{"sort_by": "colour"}, {"sort_order": "up"}])
async def test_an_unknown_order_names_the_known_ones(
    quiet_gateway: Gateway, query: dict[str, str]
) -> None:
    answer = await quiet_gateway.http.get("/pipelines", params=query)
    assert reason(answer) == (422, "INVALID_REQUEST")
    for known in ("created_at, updated_at, started_at, ended_at, name, state, priority", "asc or"):
        assert known in answer.json()["detail"]
