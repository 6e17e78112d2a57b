"""The port between the step runner and what really runs a step (a process, a container).

A runtime owns no state of its own: what it needs to adopt a running step after the agent died
lies on disk or in the container engine, found by `AttemptKey`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey, LogStream
from gamepipe.model.spec import Step


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """A step ready to run: every template is resolved, so it may hold secrets; never log it."""

    key: AttemptKey
    step: Step
    workspace: Path
    """Shared by the steps of one generation; `/workspace` inside containers."""
    attempt_dir: Path
    """Private files of the attempt (script, shim files), mode 0700."""
    output_file: Path
    """`$GAMEPIPE_OUTPUT`: the step writes `KEY=value` lines here."""
    environment: dict[str, str] = field(default_factory=dict)
    """GAMEPIPE_* variables that every step gets."""
    gpu_devices: tuple[int, ...] = ()
    grace_seconds: float = 10.0
    node_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How it ended. `reason` "" with exit code 0 is success; see `gamepipe.model.reason`."""

    exit_code: int | None
    started_at: datetime | None
    ended_at: datetime
    reason: str = ""
    message: str = ""
    retryable: bool = True
    said: str = ""
    """What the step itself said, to be quoted behind the message: whole, for it is shortened only
    after it was masked."""
    said_is_cut: bool = False
    """Somebody else kept only the beginning of it."""
    quotes_log: bool = False
    """The last lines of its output belong behind the message."""
    service_up: bool = False
    """A `service` whose container is up (healthy, or it ran long enough) and was left running."""
    container_id: str = ""
    container_name: str = ""
    ports: dict[str, str] = field(default_factory=dict)


class LineSink(Protocol):
    """Where a runtime writes output. Awaiting `write` is the back pressure on a chatty step."""

    async def write(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str = "",
        continued: bool = False,
    ) -> None:
        """Spool one line (at most 64 KiB). `position` is the runtime's own mark behind this line;
        it is kept with the line, so that a restarted agent goes on exactly there."""

    def resume_position(self) -> str:
        """The mark behind the last spooled line that had one; "" at the beginning."""


class Runtime(Protocol):
    """Runs attempts of one kind of step."""

    async def run(
        self,
        plan: StepPlan,
        sink: LineSink,
        *,
        on_running: Callable[[datetime], Awaitable[None]],
        on_progress: Callable[[float | None, str], Awaitable[None]],
        stop: "StopRequest",
    ) -> Exit:
        """Start the attempt, or adopt it when it is there already, and follow it to its end.

        Calls `on_running` once with the (original) start time. When `stop` is set it sends TERM,
        after the grace KILL, and returns once the process group or container is gone. A cancelled
        `run` (the agent ends) leaves the attempt running for a later adoption. Every line is
        written before it returns. Refusals are an `Exit` with a reason, not an exception.
        """

    async def is_up(self, key: AttemptKey) -> bool:
        """Whether a service of this attempt runs and has come up, as far as can be told: one that
        was up and is not well now counts too. It may be somebody's game."""

    async def remove(self, pipeline_id: str, generation: int, *, keep_services: bool) -> None:
        """Remove what is left of a generation (containers, shim files). Idempotent."""

    async def kill(
        self, key: AttemptKey, stop: "StopRequest", *, sink: LineSink | None = None
    ) -> bool:
        """Stop an attempt that no `run` follows; True when something ran. Idempotent.

        `stop` is set; it is told once nothing runs any more. Then what the attempt wrote and
        nobody has read goes to `sink`, before anything of it is removed.
        """


class StopRequest:
    """Asks a running attempt to stop; a later, shorter grace replaces a longer one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._shortened = asyncio.Event()
        self._gone = asyncio.Event()
        self.grace_seconds = 0.0
        self.reason = ""
        self.message = ""

    @classmethod
    def within(cls, grace_seconds: float, *, reason: str = reasons.CANCELED) -> "StopRequest":
        """One that is set."""
        stop = cls()
        stop.set(grace_seconds=grace_seconds, reason=reason)
        return stop

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    @property
    def is_gone(self) -> bool:
        """Nothing of the attempt runs any more; its last lines may still be on their way."""
        return self._gone.is_set()

    def mark_gone(self) -> None:
        self._gone.set()

    async def wait_gone(self) -> None:
        await self._gone.wait()

    def set(self, *, grace_seconds: float, reason: str, message: str = "") -> None:
        """First call decides the reason; later calls may only shorten the grace."""
        if not self._event.is_set():
            self.grace_seconds, self.reason, self.message = grace_seconds, reason, message
            self._event.set()
        elif grace_seconds < self.grace_seconds:
            self.grace_seconds = grace_seconds
            self._shortened.set()

    async def wait(self) -> None:
        await self._event.wait()

    async def wait_shortened(self) -> None:
        """Wait until the grace was shortened (again)."""
        await self._shortened.wait()
        self._shortened.clear()
