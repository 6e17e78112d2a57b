"""Values and small parts that the agent's tests share."""

import asyncio
import json
from datetime import UTC, datetime

import psutil

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.runtime import Exit, StepPlan, StopRequest
from gamepipe.model.record import AttemptKey, LogStream
from gamepipe.model.spec import Step, StepType
from gamepipe.wire import Scope, StepAssignment


def utc_now() -> datetime:
    return datetime.now(UTC)


def make_plan(
    folders: AgentFolders,
    script: str,
    *,
    pipeline_id: str = "p",
    step_index: int = 0,
    attempt: int = 1,
    environment: dict[str, str] | None = None,
) -> StepPlan:
    key = AttemptKey(pipeline_id=pipeline_id, generation=1, step_index=step_index, attempt=attempt)
    workspace, attempt_dir = folders.workspace(pipeline_id, 1), folders.attempt(key)
    workspace.mkdir(parents=True, exist_ok=True)
    attempt_dir.mkdir(parents=True, exist_ok=True)
    return StepPlan(
        key=key,
        step=Step(
            index=step_index,
            name="step",
            type=StepType.COMMAND,
            command=script,
            environment=environment or {},
        ),
        workspace=workspace,
        attempt_dir=attempt_dir,
        output_file=attempt_dir / "output",
        grace_seconds=5.0,
        node_id="node-1",
    )


def assignment(script: str, *, pipeline_id: str = "p", step_index: int = 0, **fields):
    values = {
        "generation": 1,
        "attempt": 1,
        "dispatch": 1,
        "scope": Scope(),
        "timeout_seconds": None,
        "grace_seconds": 5.0,
        "heartbeat_seconds": 30.0,
    }
    step = Step(index=step_index, name=f"s{step_index}", type=StepType.COMMAND, command=script)
    return StepAssignment(pipeline_id=pipeline_id, step=step, **{**values, **fields})


def processes_of(folders: AgentFolders) -> list[psutil.Process]:
    """Every process that was started below these folders and still runs."""
    mark = str(folders.attempts)
    found = []
    for process in psutil.process_iter():
        try:
            launch = process.environ().get("GAMEPIPE_LAUNCH", "")
            if mark in launch and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return found


class Lines:
    """A `LineSink` in memory; can be closed to hold the writer back."""

    def __init__(self) -> None:
        self.lines: list[tuple[LogStream, str, bool]] = []
        self.position = ""
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Event()

    async def write(self, stream, text, *, at, position="", continued=False) -> None:
        await self.open.wait()
        assert at.tzinfo is not None
        self.lines.append((stream, text, continued))
        self.position = position or self.position
        self._changed.set()

    def resume_position(self) -> str:
        return self.position

    def texts(self, stream: LogStream | None = None) -> list[str]:
        return [text for kind, text, _ in self.lines if stream in {None, kind}]

    async def until(self, text: str, seconds: float = 20.0) -> None:
        """Wait until a line with exactly this text came."""
        async with asyncio.timeout(seconds):
            while text not in self.texts():
                self._changed.clear()
                await self._changed.wait()


class Following:
    """A runtime's `run` in a task, with its stop request."""

    def __init__(self, runtime, plan: StepPlan, sink) -> None:
        self.stop = StopRequest()
        self.started: list[datetime] = []
        self.running = asyncio.Event()
        self.task: asyncio.Task[Exit] = asyncio.create_task(
            runtime.run(
                plan,
                sink,
                on_running=self._on_running,
                on_progress=self._on_progress,
                stop=self.stop,
            )
        )

    async def _on_running(self, at: datetime) -> None:
        self.started.append(at)
        self.running.set()

    async def _on_progress(self, percent: float | None, message: str) -> None:
        return None

    async def end(self, seconds: float = 30.0) -> Exit:
        return await asyncio.wait_for(self.task, seconds)

    async def abandon(self) -> None:
        """As when the agent dies: the step goes on."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def shim_pid(plan: StepPlan, number: int = 1) -> int:
    """Of the shim that runs a step for the `number`th time."""
    return json.loads((plan.attempt_dir / f"run-{number}" / "state.json").read_text())["shim"]
