"""A step runner on folders of its own, as the tests drive it."""

import asyncio
from pathlib import Path

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.journal import AttemptJournal
from gamepipe.agent.plan import RunnerSettings, RunnerTools
from gamepipe.agent.process_runtime import ProcessRuntime
from gamepipe.agent.reporter import ReportRules
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.slot import StepSlots
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.values import Values
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import StepType
from gamepipe.wire import (
    InstanceEnd,
    StepAssignment,
    StepReport,
    StepResult,
    StopStep,
)
from tests.agent.making import utc_now
from tests.waiting import eventually


class FixedValues:
    """Envs and secrets of every step."""

    def __init__(self) -> None:
        self.values = Values()
        self.errors: list[Exception] = []

    async def fetch(self, key: AttemptKey) -> Values:
        if self.errors:
            raise self.errors.pop()
        return self.values


class Node:
    """A runner and what it keeps; `restart` is what a new agent process would do."""

    def __init__(
        self,
        root: Path,
        *,
        max_steps: int = 32,
        allow_commands: bool = True,
        token_seconds: float = 60.0,
        gpu_uuids: dict[int, str] | None = None,
    ) -> None:
        self.folders = AgentFolders(root)
        self.values = FixedValues()
        self.reports: list[StepReport] = []
        self._settings = RunnerSettings(
            node_id="node-1",
            allow_commands=allow_commands,
            max_steps=max_steps,
            progress_poll=0.01,
            fetch_retry=0.01,
            token_seconds=token_seconds,
            reports=ReportRules(hold_running=0.0, first_interval=0.01),
            gpu_uuids=gpu_uuids or {},
        )
        self.tasks: list[asyncio.Task[StepResult]] = []
        self.start()

    def start(self) -> None:
        settings = self._settings
        self.spools = SpoolFolder(self.folders.spool)
        self.slots = StepSlots(settings.max_steps)
        self.journal = AttemptJournal(self.folders.journal)
        tools = RunnerTools(
            settings=settings,
            folders=self.folders,
            runtimes={StepType.COMMAND: ProcessRuntime(self.folders)},
            values=self.values,
            spools=self.spools,
            slots=self.slots,
            clock=utc_now,
        )
        self.runner = StepRunner(tools, self.journal, stop_instance=self._stop_instance)

    async def restart(self) -> None:
        await self.close()
        self.start()

    async def close(self) -> None:
        await self.runner.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def run(self, step: StepAssignment, *, run_id: str = "r") -> "asyncio.Task[StepResult]":
        self.tasks.append(
            asyncio.create_task(self.runner.run(step, report=self._report, run_id=run_id))
        )
        return self.tasks[-1]

    def texts(self, step_index: int = 0, attempt: int = 1) -> list[str]:
        key = AttemptKey(pipeline_id="p", generation=1, step_index=step_index, attempt=attempt)
        lines = self.spools.open(key).read(1, max_bytes=1_000_000)
        return [line.text for line in lines]

    async def until_line(self, text: str, step_index: int = 0, attempt: int = 1) -> None:
        await eventually(lambda: text in self.texts(step_index, attempt), what=text)

    async def _report(self, report: StepReport) -> None:
        self.reports.append(report)

    @staticmethod
    async def _stop_instance(order) -> InstanceEnd:
        return InstanceEnd()


def stop_of(step_index: int = 0, attempt: int | None = 1, grace_seconds: float = 5.0) -> StopStep:
    return StopStep(
        pipeline_id="p",
        generation=1,
        step_index=step_index,
        attempt=attempt,
        grace_seconds=grace_seconds,
    )
