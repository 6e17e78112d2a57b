"""A container runtime on a real Docker engine, and what drives it."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from gamepipe.agent.container_engine import ContainerEngine
from gamepipe.agent.container_facts import LABEL_NODE, ContainerFacts, container_name
from gamepipe.agent.container_runtime import ContainerRuntime
from gamepipe.agent.runtime import Exit, StepPlan, StopRequest
from gamepipe.model.record import AttemptKey, LogStream
from gamepipe.model.spec import Container, Step, StepType
from tests.waiting import eventually

_numbers = itertools.count(1)
UP_AFTER = timedelta(seconds=0.6)


@dataclass(frozen=True)
class Line:
    stream: LogStream
    text: str
    at: datetime
    position: str
    continued: bool


@dataclass
class MemorySink:
    """Keeps lines as a spool does: a line without a mark keeps the mark before it."""

    lines: list[Line] = field(default_factory=list)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    die_after: int | None = None
    """Takes no more lines after that many: the agent that owns it is dead."""

    def __post_init__(self) -> None:
        self.room.set()

    async def write(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str = "",
        continued: bool = False,
    ) -> None:
        await self.room.wait()
        if self.die_after is not None and len(self.lines) >= self.die_after:
            await asyncio.Event().wait()
        mark = position or self.resume_position()
        self.lines.append(Line(stream, text, at, mark, continued))

    def resume_position(self) -> str:
        return self.lines[-1].position if self.lines else ""

    def texts(self, stream: LogStream = LogStream.STDOUT) -> list[str]:
        return [line.text for line in self.lines if line.stream is stream]


@dataclass
class Attempt:
    """One `run` and what it said."""

    plan: StepPlan
    sink: Any
    stop: StopRequest = field(default_factory=StopRequest)
    running_since: list[datetime] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    task: "asyncio.Task[Exit]" = field(init=False)

    async def on_running(self, at: datetime) -> None:
        self.running_since.append(at)

    async def on_progress(self, percent: float | None, message: str) -> None:
        self.progress.append(message)

    def start(self, runtime: ContainerRuntime) -> "Attempt":
        self.task = asyncio.create_task(
            runtime.run(
                self.plan,
                self.sink,
                on_running=self.on_running,
                on_progress=self.on_progress,
                stop=self.stop,
            )
        )
        return self

    async def end(self, seconds: float = 60.0) -> Exit:
        return await asyncio.wait_for(asyncio.shield(self.task), seconds)

    async def until_line(self, text: str) -> None:
        def look() -> bool:
            if self.task.done():
                raise AssertionError(f"ended: {self.task.result()}; {self.sink.lines}")
            return any(text in line.text for line in self.sink.lines)

        await eventually(look, what=f"line {text!r}")

    async def crash(self) -> None:
        """The agent dies: nobody follows the container any more."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@dataclass
class Bench:
    """Makes plans for one node and runs them."""

    docker: aiodocker.Docker
    folder: Path
    image: str
    node_id: str
    runtime: ContainerRuntime

    @property
    def engine(self) -> ContainerEngine:
        return ContainerEngine(self.docker)

    def restarted(self, docker: aiodocker.Docker | None = None) -> ContainerRuntime:
        """A runtime as a restarted agent builds it."""
        return ContainerRuntime(
            docker or self.docker, node_id=self.node_id, service_up_after=UP_AFTER
        )

    def key(self) -> AttemptKey:
        number = next(_numbers)
        return AttemptKey(
            pipeline_id=f"p{os.getpid()}-{number}", generation=1, step_index=0, attempt=1
        )

    def plan(
        self,
        *commands: str,
        key: AttemptKey | None = None,
        kind: StepType = StepType.CONTAINER,
        gpu_devices: tuple[int, ...] = (),
        **fields: Any,
    ) -> StepPlan:
        key = key or self.key()
        container = Container(**{"image": self.image, "commands": commands, **fields})
        folder = self.folder / key.path
        workspace = self.folder / key.pipeline_id / "workspace"
        workspace.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        output = folder / "output"
        output.touch()
        output.chmod(0o666)
        return StepPlan(
            key=key,
            step=Step(index=key.step_index, name="step", type=kind, container=container),
            workspace=workspace,
            attempt_dir=folder,
            output_file=output,
            environment={"GAMEPIPE_PIPELINE_ID": key.pipeline_id, "GAMEPIPE_OUTPUT": str(output)},
            gpu_devices=gpu_devices,
            grace_seconds=5.0,
            node_id=self.node_id,
        )

    def start(self, plan: StepPlan, sink: MemorySink | None = None) -> Attempt:
        return Attempt(plan=plan, sink=sink or MemorySink()).start(self.runtime)

    async def run(self, *commands: str, **fields: Any) -> tuple[Exit, Attempt]:
        attempt = self.start(self.plan(*commands, **fields))
        return await attempt.end(), attempt

    async def inspect(self, plan: StepPlan) -> dict[str, Any]:
        answer: dict[str, Any] = await self.engine.call(
            "GET", f"containers/{container_name(plan.key)}/json"
        )
        return answer

    async def facts(self, plan: StepPlan) -> ContainerFacts | None:
        return await self.engine.inspect(container_name(plan.key))


@pytest.fixture
async def bench(
    docker: aiodocker.Docker, busybox_image: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    node_id = f"node-{os.getpid()}-{next(_numbers)}"
    runtime = ContainerRuntime(docker, node_id=node_id, service_up_after=UP_AFTER)
    bench = Bench(docker, tmp_path, busybox_image, node_id, runtime)
    yield bench
    for container in await bench.engine.find({LABEL_NODE: node_id}):
        await bench.engine.remove(container.id)


@pytest.fixture
def now() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


def next_attempt(plan: StepPlan) -> StepPlan:
    """The plan of the step's following attempt."""
    return replace(plan, key=replace(plan.key, attempt=plan.key.attempt + 1))
