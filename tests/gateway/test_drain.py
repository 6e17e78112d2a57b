"""Draining a node: nothing new comes, what runs may end, and past the deadline is stopped."""

import pytest

from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import reason
from tests.waiting import eventually
from tests.workflows.node import ScriptedNode, until_stopped
from tests.workflows.shapes import service_up

ONE = {"name": "one", "steps": [{"name": "only", "type": "command", "command": "true"}]}
GAME = {
    "name": "game",
    "steps": [{"name": "game", "type": "service", "container": {"image": "games/one:1"}}],
}


async def drain(gateway: Gateway, **body: object) -> dict[str, object]:
    answer = await gateway.http.post("/nodes/n1/drain", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def state(gateway: Gateway, wanted: str) -> dict[str, object]:
    """The drain, once it is so far."""

    async def reached() -> dict[str, object] | None:
        report = (await gateway.http.get("/nodes/n1/drain")).json()
        return report if report["state"] == wanted else None

    return await eventually(reached, what=f"the drain to be {wanted}")


async def busy(gateway: Gateway) -> tuple[ScriptedNode, str]:
    """A node with one pipeline that runs until it is stopped or let go."""
    node = await gateway.node("n1", only=until_stopped)
    pipeline_id = await gateway.submit(ONE)
    await node.started["only"].wait()
    return node, pipeline_id


async def test_it_takes_nothing_new_and_waits_for_what_runs(gateway: Gateway) -> None:
    node, running = await busy(gateway)
    report = await drain(gateway)
    assert (report["state"], report["pipelines"]) == ("draining", [running])
    assert (await gateway.http.get("/nodes/n1")).json()["state"] == "maintenance"
    waiting = await gateway.submit(ONE)

    async def waits() -> bool:
        return (await gateway.http.get(f"/pipelines/{waiting}")).json()["reason"] == "NO_CAPACITY"

    await eventually(waits, what="the newcomer to wait")
    node.stopping(node.assignments[0]).set()
    await gateway.ended(running)
    report = await state(gateway, "drained")
    assert (report["pipelines"], report["instances"]) == ([], [])
    assert {one.pipeline_id for one in node.assignments} == {running}


async def test_what_still_runs_at_the_deadline_is_stopped(gateway: Gateway) -> None:
    _, running = await busy(gateway)
    await drain(gateway, deadline_seconds=0.5)
    record = await gateway.ended(running)
    assert record["state"] == "canceled"
    assert "deadline" in str(record["message"])
    await state(gateway, "drained")


@pytest.mark.parametrize("ignore", [True, False])
async def test_games_count_and_are_stopped_unless_they_are_ignored(
    gateway: Gateway, ignore: bool
) -> None:
    node = await gateway.node("n1", game=service_up)
    await gateway.ended(await gateway.submit(GAME))
    await drain(gateway, deadline_seconds=0.2, ignore_instances=ignore)
    await state(gateway, "drained")
    assert len(node.instance_stops) == (0 if ignore else 1)
    live = (await gateway.http.get("/instances", params={"live": True})).json()
    assert len(live) == (1 if ignore else 0)


async def test_back_to_normal_calls_it_off_and_a_newer_one_replaces_it(gateway: Gateway) -> None:
    await busy(gateway)
    await drain(gateway)
    report = await drain(gateway, deadline_seconds=3600)
    assert report["deadline"]
    await gateway.http.patch("/nodes/n1", json={"state": "normal"})
    await state(gateway, "called_off")


async def test_what_cannot_be_drained_says_why(gateway: Gateway) -> None:
    nobody = await gateway.http.post("/nodes/nobody/drain")
    assert reason(nobody) == (404, "NOT_FOUND")
    await gateway.node("n2")
    never = await gateway.http.get("/nodes/n2/drain")
    assert reason(never) == (404, "NOT_FOUND")
    await gateway.http.patch("/nodes/n2", json={"state": "disabled"})
    disabled = await gateway.http.post("/nodes/n2/drain")
    assert reason(disabled) == (409, "ILLEGAL_TRANSITION")
