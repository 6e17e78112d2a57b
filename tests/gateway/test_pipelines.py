"""Pipelines through REST, over both stores, with real workflows behind them."""

import json

import httpx
import pytest

from tests.gateway.conftest import Gateway
from tests.waiting import eventually
from tests.workflows.node import until_stopped

HELLO = {
    "name": "hello",
    "args": [{"WHO": "world"}],
    "labels": {"team": "a"},
    "steps": [{"name": "greet", "type": "command", "command": "echo ${{ args.WHO }}"}],
}
TWO = {
    "name": "two",
    "steps": [
        {"name": "one", "type": "command", "command": "true"},
        {"name": "two", "type": "command", "command": "true"},
    ],
}


def reason(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["reason"]


async def test_a_pipeline_is_created_run_listed_and_deleted(gateway: Gateway) -> None:
    await gateway.node("n1")
    created = await gateway.http.post("/pipelines", json={"definition": HELLO, "id": "p1"})
    assert (created.status_code, created.json()["state"]) == (201, "not_started")
    assert created.headers["location"] == "/api/v1/pipelines/p1"
    assert reason(await gateway.http.get("/pipelines/p2")) == (404, "NOT_FOUND")
    record = await gateway.ended("p1")
    assert record["state"] == "completed"
    assert record["progress"] == {"ended": 1, "total": 1, "current": [], "percent": 100.0}
    listed = (await gateway.http.get("/pipelines", params={"label": "team=a"})).json()
    assert [one["id"] for one in listed["items"]] == ["p1"]
    assert (await gateway.http.delete("/pipelines/p1")).status_code == 204
    assert (await gateway.http.get("/pipelines")).json()["total"] == 0
    again = await gateway.submit(HELLO, id="p1")
    assert (await gateway.ended(again))["state"] == "completed"


async def test_the_same_submission_twice_is_one_pipeline(gateway: Gateway) -> None:
    body = {"definition": HELLO, "id": "p1"}
    assert (await gateway.http.post("/pipelines", json=body)).status_code == 201
    assert (await gateway.http.post("/pipelines", json=body)).status_code == 200
    other = body | {"args": {"WHO": "else"}}
    assert reason(await gateway.http.post("/pipelines", json=other)) == (409, "ALREADY_EXISTS")


async def test_yaml_and_bare_json_files_are_taken_as_they_are(gateway: Gateway) -> None:
    text = (
        "name: hello\nargs: [WHO]\nsteps:\n  - {type: command, command: 'echo ${{ args.WHO }}'}\n"
    )
    yaml = await gateway.http.post(
        "/pipelines",
        content=text,
        headers={"content-type": "application/yaml"},
        params={"id": "y", "arg": "WHO=me"},
    )
    assert (yaml.status_code, yaml.json()["args"]) == (201, {"WHO": "me"})
    bare = await gateway.http.post("/pipelines", json=HELLO)
    assert bare.status_code == 201
    assert bare.json()["id"].startswith("hello-")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "body"),
        (b"{}", "definition"),
        (b'{"definition": 7}', "definition"),
        (b'{"definition": {}, "envs": ["x"]}', "envs"),
        (b'{"definition": {}, "unknown": 1}', "unknown"),
        (b"[" * 100_000, "not JSON"),
        (b'{"definition": "' + b"x" * (5 << 20) + b'"}', "larger than"),
    ],
)
async def test_a_body_that_is_wrong_says_what_would_be_right(
    quiet_gateway: Gateway, content: bytes, said: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await quiet_gateway.http.post("/pipelines", content=content, headers=headers)
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert said in answer.json()["detail"]


async def test_every_mistake_of_a_file_comes_with_its_place(quiet_gateway: Gateway) -> None:
    text = "name: x\nsteps:\n  - {type: comand, command: a}\n  - {type: command, comand: b}\n"
    answer = await quiet_gateway.http.post(
        "/pipelines", json={"definition": text, "file": "x.yaml"}
    )
    assert reason(answer) == (422, "INVALID_PIPELINE")
    mistakes = answer.json()["mistakes"]
    assert {one["line"] for one in mistakes} == {3, 4}
    assert all(one["file"] == "x.yaml" and one["remedy"] for one in mistakes)


async def test_values_are_checked_but_never_repeated(gateway: Gateway) -> None:
    spec = HELLO | {"envs": ["TOKEN"]}
    spec["steps"] = [{"type": "command", "command": "echo ${{ envs.TOKEN }}"}]
    missing = await gateway.http.post("/pipelines", json={"definition": spec})
    assert reason(missing) == (422, "INVALID_PIPELINE")
    unknown = await gateway.http.post(
        "/pipelines", json={"definition": spec, "envs": {"TOKEN": "s3cr3t", "TOKN": "hush"}}
    )
    assert reason(unknown) == (422, "INVALID_PIPELINE")
    assert "s3cr3t" not in unknown.text
    assert "hush" not in unknown.text
    right = await gateway.http.post(
        "/pipelines", json={"definition": spec, "envs": {"TOKEN": "s3cr3t"}}
    )
    assert right.json()["env_names"] == ["TOKEN"]
    assert "s3cr3t" not in right.text


async def test_cancel_stops_a_pipeline_and_tells_why(gateway: Gateway) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(TWO)
    await node.started["one"].wait()
    answer = await gateway.http.post(
        f"/pipelines/{pipeline_id}/cancel", json={"reason": "wrong game", "grace_seconds": 0.5}
    )
    assert answer.status_code == 202
    record = await gateway.ended(pipeline_id)
    assert (record["state"], record["message"]) == ("canceled", "wrong game")
    assert [s["state"] for s in record["steps"]] == ["failed", "skipped"]  # type: ignore[attr-defined]
    again = await gateway.http.post(f"/pipelines/{pipeline_id}/cancel")
    assert again.status_code == 202
    bad = await gateway.http.post(f"/pipelines/{pipeline_id}/cancel", json={"grace_seconds": -1})
    assert reason(bad) == (422, "INVALID_REQUEST")


async def test_a_live_pipeline_is_deleted_by_force_only(gateway: Gateway) -> None:
    node = await gateway.node("n1", one=until_stopped)
    pipeline_id = await gateway.submit(TWO)
    await node.started["one"].wait()
    refused = await gateway.http.delete(f"/pipelines/{pipeline_id}")
    assert reason(refused) == (409, "ILLEGAL_TRANSITION")
    forced = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
    assert forced.status_code == 204
    assert node.stops
    assert reason(await gateway.http.get(f"/pipelines/{pipeline_id}")) == (404, "NOT_FOUND")


async def test_a_completed_pipeline_cannot_be_canceled(gateway: Gateway) -> None:
    await gateway.node("n1")
    pipeline_id = await gateway.submit(TWO)
    await gateway.ended(pipeline_id)
    answer = await gateway.http.post(f"/pipelines/{pipeline_id}/cancel")
    assert reason(answer) == (409, "ILLEGAL_TRANSITION")


async def test_the_definition_changes_while_it_waits_and_not_later(gateway: Gateway) -> None:
    pipeline_id = await gateway.submit(TWO)
    path = f"/pipelines/{pipeline_id}"

    async def waits() -> bool:
        return bool((await gateway.http.get(f"{path}/placement")).json()["waiting"])

    await eventually(waits, what="the queue entry")
    changed = await gateway.http.patch(path, json={"definition": HELLO, "labels": {"a": "b"}})
    assert (changed.status_code, changed.json()["name"]) == (200, "hello")
    node = await gateway.node("n1")
    await eventually(lambda: _offer(gateway), what="an offer")
    record = await gateway.ended(pipeline_id)
    assert (record["state"], node.names()) == ("completed", ["greet"])
    late = await gateway.http.patch(path, json={"definition": TWO})
    assert reason(late) == (409, "ILLEGAL_TRANSITION")
    renamed = await gateway.http.patch(path, json={"name": "renamed", "priority": 3})
    assert (renamed.json()["name"], renamed.json()["priority"]) == ("renamed", 3)
    assert reason(await gateway.http.patch(path, json={"nam": "x"}))[0] == 422


async def _offer(gateway: Gateway) -> bool:
    """What the worker's sweep does all the time."""
    from gamepipe.notice import NoticeSender
    from tests.workflows.node import now

    offers = await gateway.store.placements.offer(now=now())
    await NoticeSender(gateway.client).send(offers)
    return bool(offers)


async def test_a_waiting_pipeline_says_why_for_every_node(gateway: Gateway) -> None:
    await gateway.node("n1")
    pipeline_id = await gateway.submit(TWO | {"resources": {"gpu": {"count": 1}}})

    async def placement() -> dict[str, object] | None:
        found = (await gateway.http.get(f"/pipelines/{pipeline_id}/placement")).json()
        return found if found["waiting"] else None

    found = await eventually(placement, what="the queue entry")
    assert found["verdicts"] == [{"node_id": "n1", "code": "GPU_SHORT", "message": "has no GPU"}]
    record = (await gateway.http.get(f"/pipelines/{pipeline_id}")).json()
    assert (record["state"], record["reason"]) == ("pending", "NO_CAPACITY")
    assert "GPU_SHORT" in record["message"]


async def test_events_are_read_and_streamed_without_gap(gateway: Gateway) -> None:
    await gateway.node("n1")
    pipeline_id = await gateway.submit(TWO)
    path = f"/pipelines/{pipeline_id}/events"
    headers = {"accept": "text/event-stream"}
    streamed: list[dict[str, object]] = []
    async with gateway.http.stream("GET", path, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                streamed.append(json.loads(line.removeprefix("data: ")))
                if streamed[-1]["data"].get("state") == "completed" and (  # type: ignore[attr-defined]
                    streamed[-1]["kind"] == "pipeline_state_changed"
                ):
                    break
    listed = (await gateway.http.get(path)).json()
    assert listed == streamed
    resumed = await gateway.http.get(path, headers={"last-event-id": str(streamed[2]["id"])})
    assert resumed.json() == streamed[3:]
    everything = (await gateway.http.get("/events", params={"limit": 1000})).json()
    assert [e for e in everything if e["pipeline_id"] == pipeline_id] == streamed


@pytest.mark.parametrize(
    "query",
    [
        {"size": 0},
        {"page": 0},
        {"sort_by": "colour"},
        {"state": "odd"},
        {"label": "x"},
        {"start_time": "yesterday"},
        {"start_time": "2026-01-01T00:00:00"},
    ],
)
async def test_wrong_filters_are_refused(quiet_gateway: Gateway, query: dict[str, object]) -> None:
    assert reason(await quiet_gateway.http.get("/pipelines", params=query))[0] == 422  # type: ignore[arg-type]


async def test_an_instance_is_stopped_by_the_force_that_deletes_its_pipeline(
    gateway: Gateway,
) -> None:
    from tests.workflows.shapes import service_up

    node = await gateway.node("n1", game=service_up)
    pipeline_id = await gateway.submit(
        {"name": "s", "steps": [{"name": "game", "type": "service", "container": {"image": "x"}}]}
    )
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    (instance,) = (await gateway.http.get("/instances", params={"live": True})).json()
    refused = await gateway.http.delete(f"/pipelines/{pipeline_id}")
    assert reason(refused) == (409, "ILLEGAL_TRANSITION")
    forced = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
    assert forced.status_code == 204
    assert [order.instance_id for order in node.instance_stops] == [instance["id"]]
    late = await gateway.http.post(f"/instances/{instance['id']}/stop")
    assert reason(late) == (404, "NOT_FOUND")


async def test_the_api_describes_itself(quiet_gateway: Gateway) -> None:
    base = str(quiet_gateway.http.base_url).removesuffix("/api/v1/")
    schema = (await quiet_gateway.http.get(f"{base}/openapi.json")).json()
    create = schema["paths"]["/api/v1/pipelines"]["post"]["requestBody"]["content"]
    assert set(create) == {"application/json", "application/yaml"}
    assert (await quiet_gateway.http.get(f"{base}/docs")).status_code == 200
    assert (await quiet_gateway.http.get(f"{base}/readyz")).json() == {"status": "ok"}
    assert reason(await quiet_gateway.http.get(f"{base}/nothing")) == (404, "NOT_FOUND")
