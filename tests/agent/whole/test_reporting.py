"""News of a step reaches the workflow run that asked for it, and no other pipeline of that id."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.settings import AgentSettings
from gamepipe.reporting import report_to_run
from gamepipe.starting import INCARNATION
from gamepipe.wire import ReportKind, StepReport
from tests.agent.making import assignment, processes_of
from tests.agent.running import OneStep
from tests.waiting import eventually

pytestmark = pytest.mark.temporal
NEWS = StepReport(
    generation=1, step_index=0, attempt=1, kind=ReportKind.PROGRESS, at=datetime.now(UTC)
)


@workflow.defn(sandboxed=False)
class Listener:
    """Hears reports; goes on as a new run when it is told to."""

    def __init__(self) -> None:
        self.heard = 0
        self.renewed = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.renewed)
        workflow.continue_as_new()

    @workflow.signal
    def report_step(self, report: StepReport) -> None:
        self.heard += 1

    @workflow.signal
    def renew(self) -> None:
        self.renewed = True

    @workflow.query
    def count(self) -> int:
        return self.heard


async def _listener(client: Client, incarnation: str) -> "WorkflowHandle[Listener, None]":
    return await client.start_workflow(
        Listener.run, id="listener", task_queue="reporting", memo={INCARNATION: incarnation}
    )


async def _count(client: Client) -> int:
    return int(await client.get_workflow_handle("listener").query("count"))


async def test_the_run_that_goes_on_hears_what_is_said_to_the_one_before(
    temporal_client: Client,
) -> None:
    async with Worker(temporal_client, task_queue="reporting", workflows=[Listener]):
        first = await _listener(temporal_client, "one")
        first_run = first.first_execution_run_id or ""
        await first.signal(Listener.renew)

        async def renewed() -> bool:
            newest = await temporal_client.get_workflow_handle("listener").describe()
            return newest.run_id != first_run

        await eventually(renewed)
        assert await report_to_run(temporal_client, "listener", first_run, NEWS)
        assert await _count(temporal_client) == 1
        await temporal_client.get_workflow_handle("listener").terminate()


async def test_another_incarnation_of_the_id_hears_nothing(temporal_client: Client) -> None:
    async with Worker(temporal_client, task_queue="reporting", workflows=[Listener]):
        old = await _listener(temporal_client, "one")
        await old.terminate()
        new = await _listener(temporal_client, "two")
        old_run = old.first_execution_run_id or ""
        assert not await report_to_run(temporal_client, "listener", old_run, NEWS)
        assert await _count(temporal_client) == 0
        await new.terminate()
        new_run = new.first_execution_run_id or ""
        assert not await report_to_run(temporal_client, "listener", new_run, NEWS), "it has closed"


async def test_nobody_hears_what_is_said_to_a_run_that_is_gone(temporal_client: Client) -> None:
    gone = "5a1c5f0e-0000-4000-8000-000000000000"
    assert not await report_to_run(temporal_client, "never-was", gone, NEWS)
    await _listener(temporal_client, "one")
    assert not await report_to_run(temporal_client, "listener", gone, NEWS)
    await temporal_client.get_workflow_handle("listener").terminate()


@pytest.mark.usefixtures("control")
async def test_an_agent_tells_the_successor_of_its_pipelines_id_nothing(
    start_agent,
    temporal_client: Client,
    settings: AgentSettings,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def begin(node_id: str, script: str, incarnation: str):
        return await temporal_client.start_workflow(
            OneStep.run,
            args=[node_id, assignment(script)],
            id="pipeline-reused",
            task_queue="agent-test",
            memo={INCARNATION: incarnation},
        )

    agent = await start_agent()
    gate = tmp_path / "gate"
    script = f"""echo up; until [ -e {gate} ]; do sleep 0.02; done
echo GAMEPIPE_PROGRESS=77 >> $GAMEPIPE_OUTPUT; until [ -e {gate}.2 ]; do sleep 0.02; done"""
    old = await begin(settings.node_id, script, "one")
    await eventually(lambda: old.query("kinds"))
    await old.terminate()
    new = await begin("nobody", "true", "two")
    gate.touch()
    said: list[str] = []

    def unwanted() -> bool:
        said.append("".join(capfd.readouterr()))
        return "report.unwanted" in "".join(said)

    await eventually(unwanted)
    assert await new.query("kinds") == []
    await new.terminate()
    (tmp_path / "gate.2").touch()
    await eventually(lambda: not processes_of(AgentFolders(settings.data_dir)))
    assert await agent.end() == 0
