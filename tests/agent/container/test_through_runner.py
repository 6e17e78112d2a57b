"""The step runner with real containers: outputs, masked values, an instance, and its removal."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.container_facts import LABEL_NODE
from gamepipe.agent.container_runtime import ContainerRuntime
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.instance import InstanceWatcher
from gamepipe.agent.journal import AttemptJournal
from gamepipe.agent.plan import RunnerSettings, RunnerTools
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.slot import StepSlots
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.values import Values
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import Container, Step, StepType
from gamepipe.wire import CleanWorkspace, Scope, StepAssignment, StepReport
from tests.agent.container.conftest import UP_AFTER, Bench
from tests.agent.container.test_instance import Gateway, make_watcher

pytestmark = pytest.mark.docker


class OneEnv:
    async def fetch(self, key: AttemptKey) -> Values:
        return Values(envs={"PASSWD": "hunter22"})


async def ignore(report: StepReport) -> None:
    """The reports are another test's business."""


def make_runner(
    bench: Bench, watcher: InstanceWatcher, folders: AgentFolders, now: Callable[[], datetime]
) -> tuple[StepRunner, SpoolFolder]:
    runtime = ContainerRuntime(
        bench.docker,
        node_id=bench.node_id,
        service_up_after=UP_AFTER,
        attempts_dir=folders.attempts,
    )
    tools = RunnerTools(
        settings=RunnerSettings(node_id=bench.node_id),
        folders=folders,
        runtimes={StepType.CONTAINER: runtime, StepType.SERVICE: runtime},
        values=OneEnv(),
        spools=SpoolFolder(folders.spool),
        slots=StepSlots(4),
        clock=now,
    )
    runner = StepRunner(tools, AttemptJournal(folders.journal), stop_instance=watcher.stop)
    return runner, tools.spools


def assign(
    bench: Bench, key: AttemptKey, index: int, kind: StepType, *commands: str, **fields: Any
) -> StepAssignment:
    container = Container(
        image=bench.image,
        commands=commands,
        environment={"PASSWD": "${{ envs.PASSWD }}"},
        **fields,
    )
    return StepAssignment(
        pipeline_id=key.pipeline_id,
        generation=1,
        attempt=1,
        dispatch=1,
        step=Step(index=index, name=f"step {index}", type=kind, container=container),
        scope=Scope(env_names=("PASSWD",)),
        timeout_seconds=None,
        grace_seconds=5,
        heartbeat_seconds=3,
    )


async def test_steps_run_through_the_runner(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    folders = AgentFolders(tmp_path / "agent")
    runner, spools = make_runner(bench, make_watcher(bench, Gateway()), folders, now)
    key = bench.key()
    first = assign(
        bench, key, 0, StepType.CONTAINER, "echo value $PASSWD", "echo A=7 >> $GAMEPIPE_OUTPUT"
    )
    result = await runner.run(first, report=ignore)
    assert (result.outputs, result.log_lines) == ({"A": "7"}, 1)
    spool = spools.get(key)
    assert spool is not None
    assert [line.text for line in spool.read(1, max_bytes=4096)] == ["value ***"]
    service = await runner.run(assign(bench, key, 1, StepType.SERVICE, "sleep 600"), report=ignore)
    assert service.instance is not None
    assert service.instance.container_name == f"gamepipe-{key.pipeline_id}-g1-s1-a1"
    await runner.clean(CleanWorkspace(pipeline_id=key.pipeline_id, generation=1))
    assert await bench.engine.find({LABEL_NODE: bench.node_id}) == []
    assert not folders.workspace(key.pipeline_id, 1).exists()


async def test_a_service_that_never_came_up_quotes_its_lines_masked(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    folders = AgentFolders(tmp_path / "agent")
    runner, _ = make_runner(bench, make_watcher(bench, Gateway()), folders, now)
    key = bench.key()
    service = assign(bench, key, 0, StepType.SERVICE, "echo no display for $PASSWD >&2", "exit 4")
    result = await runner.run(service, report=ignore)
    assert result.message.endswith("its last lines:\nno display for ***")
