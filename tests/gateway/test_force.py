"""DELETE with `force`: how long it waits, and what it says when the end takes longer."""

import asyncio
from datetime import timedelta

import pytest

from gamepipe.wire import ReportKind, StepAssignment, StepResult
from gateway import ending
from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import reason
from tests.waiting import eventually
from tests.workflows.node import ScriptedNode, failed, until_stopped

ONE = {
    "name": "one",
    "timeouts": {"grace": "30s"},
    "steps": [{"name": "only", "type": "command", "command": "true"}],
}
ENDS_AFTER_SECONDS = 3
"""More than the service's grace in these tests (1 s), less than the file's."""


async def ends_slowly(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    await node.report(assignment, ReportKind.RUNNING)
    await node.stopping(assignment).wait()
    await asyncio.sleep(ENDS_AFTER_SECONDS)
    return failed(143, reason="CANCELED", message="stopped")


async def runs_slowly(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    await asyncio.sleep(ENDS_AFTER_SECONDS)
    return failed(0)


@pytest.fixture(autouse=True)
def no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "END_MARGIN", timedelta(seconds=1))


async def test_it_waits_as_long_as_the_files_own_grace(gateway: Gateway) -> None:
    node = await gateway.node("n1", only=ends_slowly)
    pipeline_id = await gateway.submit(ONE)
    await node.started["only"].wait()
    answer = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
    assert answer.status_code == 204, answer.text


async def test_it_waits_for_always_steps(gateway: Gateway) -> None:
    tidy = {"name": "tidy", "type": "command", "command": "true", "always": True, "timeout": "20s"}
    node = await gateway.node("n1", only=until_stopped, tidy=runs_slowly)
    pipeline_id = await gateway.submit({"name": "two", "steps": [*ONE["steps"], tidy]})  # type: ignore[misc]
    await node.started["only"].wait()
    answer = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
    assert (answer.status_code, node.names()) == (204, ["only", "tidy"]), answer.text


async def test_an_end_that_takes_longer_goes_on_and_says_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LONGEST_WAIT", timedelta(seconds=0.5))
    node = await gateway.node("n1", only=ends_slowly)
    pipeline_id = await gateway.submit(ONE)
    await node.started["only"].wait()
    answer = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
    assert reason(answer) == (503, "UNAVAILABLE")
    assert "goes on ending" in answer.json()["detail"]
    assert (await gateway.ended(pipeline_id))["state"] == "canceled"

    async def deleted() -> bool:
        again = await gateway.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})
        return again.status_code == 204

    await eventually(deleted, what="the deletion")
