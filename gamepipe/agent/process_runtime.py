"""Runs `command` steps: a process group under a shim that outlives the agent."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gamepipe.agent.folder import AgentFolders, checked_id
from gamepipe.agent.frame import SEGMENT_BYTES
from gamepipe.agent.launch import Launch, LaunchEnd, LaunchFailed, LaunchState
from gamepipe.agent.news import news_of, pressing
from gamepipe.agent.runtime import Exit, LineSink, StepPlan, StopRequest
from gamepipe.agent.tail import Mark, OutputTail, from_micros
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey, LogStream

_log = structlog.get_logger()

MAX_LAUNCHES = 5
"""A shim that somebody kills is replaced; not for ever."""
_LINES_PER_TURN = 200
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN_AGAIN = (
    "the process that watched over the step was killed; what was left of the step was killed, and "
    "it runs again"
)

OnRunning = Callable[[datetime], Awaitable[None]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class ProcessRuntime:
    """The `Runtime` of `command` steps. Every state is on disk, below the attempt's folder."""

    def __init__(self, folders: AgentFolders, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._folders = folders
        self._clock = clock

    async def run(
        self,
        plan: StepPlan,
        sink: LineSink,
        *,
        on_running: OnRunning,
        on_progress: Callable[[float | None, str], Awaitable[None]],  # noqa: ARG002 - its file tells
        stop: StopRequest,
    ) -> Exit:
        """See `Runtime.run`. Raises OSError when the disk is full."""
        refusal = self._refusal(plan)
        if refusal is not None:
            return refusal
        while True:
            try:
                launch, again = await asyncio.to_thread(_adopt_or_start, plan)
            except LaunchFailed as error:
                return self._failed(str(error))
            if again:
                await sink.write(LogStream.SYSTEM, RUN_AGAIN, at=self._clock())
            end = await _Follower(launch, sink, on_running, stop).follow()
            if end is not None:
                return end
            await asyncio.to_thread(launch.give_up)
            if stop.is_set:
                return self._failed(stop.message, reason=stop.reason)
            if launch.number >= MAX_LAUNCHES:
                return self._failed(f"the shim died {launch.number} times: {launch.complaint()}")

    async def is_up(self, key: AttemptKey) -> bool:  # noqa: ARG002 - services are containers
        """See `Runtime`."""
        return False

    async def remove(
        self,
        pipeline_id: str,
        generation: int,
        *,
        keep_services: bool,  # noqa: ARG002 - services are containers
    ) -> None:
        """Kill what still runs of a generation; the runner removes the files."""
        folder = self._folders.attempts / checked_id(pipeline_id) / f"g{generation}"
        attempts = await asyncio.to_thread(lambda: list(folder.glob("step-*/a*")))
        await asyncio.gather(*(self._kill_in(path, StopRequest.within(0.0)) for path in attempts))

    async def kill(
        self, key: AttemptKey, stop: StopRequest, *, sink: LineSink | None = None
    ) -> bool:
        """See `Runtime.kill`."""
        return await self._kill_in(self._folders.attempt(key), stop, sink)

    async def _kill_in(
        self, attempt_dir: Path, stop: StopRequest, sink: LineSink | None = None
    ) -> bool:
        launches = await asyncio.to_thread(Launch.all, attempt_dir)
        if not launches:
            return False
        killed = launches[-1].end() is None and await self._press_out(launches[-1], stop)
        stop.mark_gone()
        if sink is not None:
            await _Follower(launches[-1], sink, _ignore, stop).take_rest()
        return killed

    @staticmethod
    async def _press_out(launch: Launch, stop: StopRequest) -> bool:
        """Stop what runs; whether anything did."""
        async with news_of(launch) as news, pressing(launch, stop):
            while not news.gone and launch.end() is None:
                await news.wait()
        await asyncio.to_thread(launch.give_up)
        return launch.state() is not None

    def _refusal(self, plan: StepPlan) -> Exit | None:
        texts = (plan.step.command, *plan.step.environment, *plan.step.environment.values())
        if any("\0" in text for text in texts):
            return self._failed("script or environment contains a NUL: remove it", retryable=False)
        return None

    def _failed(
        self, message: str, *, reason: str = reasons.RUNNER_ERROR, retryable: bool = True
    ) -> Exit:
        return Exit(
            exit_code=None,
            started_at=None,
            ended_at=self._clock(),
            reason=reason,
            message=message,
            retryable=retryable,
        )


async def _ignore(at: datetime) -> None:
    """Its start is known, or of no interest."""


def _adopt_or_start(plan: StepPlan) -> tuple[Launch, bool]:
    """The launch to follow, the one that runs or ended here, else a new one; whether that one
    stands in for one whose end nobody knows."""
    while True:
        launches = Launch.all(plan.attempt_dir)
        last = launches[-1] if launches else None
        if last is not None and (last.end() is not None or not last.give_up()):
            return last, False
        if last is not None and last.end() is not None:
            return last, False
        launch = Launch.prepare(plan.attempt_dir, last.number + 1 if last else 1)
        launch.start(plan.workspace, plan.step.command + "\n", _environment(plan))
        if launch.is_alive() or launch.end() is not None or launch.state() is not None:
            return launch, last is not None
        raise LaunchFailed(f"the shim ended at once: {launch.complaint()}")


def _environment(plan: StepPlan) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", _DEFAULT_PATH),
        "HOME": str(plan.workspace),
        "LANG": "C.UTF-8",
        **plan.environment,
        **plan.step.environment,
    }


class _Follower:
    """Takes the output of one launch to the sink, until nothing of it runs any more."""

    def __init__(
        self, launch: Launch, sink: LineSink, on_running: OnRunning, stop: StopRequest
    ) -> None:
        self._launch = launch
        self._sink = sink
        self._on_running = on_running
        self._stop = stop
        self._state: LaunchState | None = None
        self._tail = OutputTail(launch.folder, self._durable() or Mark(launch.number))

    async def follow(self) -> Exit | None:
        """How it ended; None when its shim died and nobody knows."""
        async with news_of(self._launch) as news, pressing(self._launch, self._stop):
            while True:
                await news.wait()
                gone, end = news.gone, self._launch.end()
                await self._tell_running()
                await self.take_rest()
                if end is not None and self._state is not None:
                    return self._exit(end, self._state)
                if gone:
                    return None

    async def _tell_running(self) -> None:
        if self._state is None:
            self._state = self._launch.state()
            if self._state is not None:
                await self._on_running(from_micros(self._state.started_us))

    async def take_rest(self) -> None:
        """Write on what there is."""
        some = True
        while some:
            some = False
            for number, line in enumerate(self._tail.read()):
                some = True
                await self._sink.write(
                    line.stream,
                    line.text,
                    at=line.at,
                    position=str(line.mark),
                    continued=line.continued,
                )
                if number % _LINES_PER_TURN == 0:
                    await asyncio.sleep(0)
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Let the shim go on; only behind what the sink keeps, for the rest is read again."""
        durable = self._durable()
        if durable is None or durable.offset - self._tail.dropped_to < SEGMENT_BYTES:
            return
        self._tail.drop(durable.offset)
        self._launch.acknowledge(durable.offset)

    def _durable(self) -> Mark | None:
        mark = Mark.parse(self._sink.resume_position())
        return mark if mark is not None and mark.launch == self._launch.number else None

    def _exit(self, end: LaunchEnd, state: LaunchState) -> Exit:
        code, message = end.code, ""
        if code < 0:
            message = f"the script was killed by {signal.Signals(-code).name}"
            code = 128 - code
        reason, message = self._reason(end, message)
        return Exit(
            exit_code=code,
            started_at=from_micros(state.started_us),
            ended_at=from_micros(end.ended_us),
            reason=reason,
            message=message,
        )

    def _reason(self, end: LaunchEnd, message: str) -> tuple[str, str]:
        if end.reason == reasons.DISK_FULL:
            return end.reason, (
                "no space left on the node for the step's output: free disk space below the "
                "agent's data directory"
            )
        if end.stopped:
            return (
                self._stop.reason or reasons.CANCELED,
                self._stop.message or "the step was stopped",
            )
        return "", message
