"""Thins the reports of one attempt: RUNNING held back a moment, progress at most 40 times."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from gamepipe.agent.output import ProgressMark
from gamepipe.model.record import AttemptKey
from gamepipe.wire import ReportKind, StepReport

_log = structlog.get_logger()

Report = Callable[[StepReport], Awaitable[None]]
Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRules:
    """Seconds. Progress that moved by `leap_percent` waits `first_interval`; other progress waits
    an interval that grows by `growth` each time, so that 40 reports reach over hours."""

    hold_running: float = 0.3
    hold_outputs: float = 1.0
    """Most are written just before the end, which has them anyway."""
    first_interval: float = 0.5
    growth: float = 1.25
    leap_percent: float = 5.0
    max_progress: int = 40
    retry_after: float = 1.0


class AttemptReporter:
    """Sends the reports of one attempt in order; only the newest progress is kept."""

    def __init__(
        self, key: AttemptKey, report: Report, *, rules: ReportRules, clock: Clock
    ) -> None:
        self._key = key
        self._report = report
        self._rules = rules
        self._clock = clock
        self._started_at: datetime | None = None
        self._pending: ProgressMark | None = None
        self._outputs: dict[str, str] = {}
        self._ripe = False
        """They have waited for `hold_outputs`."""
        self._wake = asyncio.Event()
        self._redirected = asyncio.Event()
        self._sent = 0
        self._last_percent = 0.0

    def redirect(self, report: Report) -> None:
        """A newer dispatch follows the attempt: RUNNING is told again, to it."""
        self._report = report
        self._redirected.set()
        self._wake.set()

    def running(self, at: datetime) -> None:
        self._started_at = at
        self._wake.set()

    def progress(self, percent: float | None, message: str) -> None:
        mark = ProgressMark(
            percent=self._last_percent if percent is None else percent, message=message
        )
        if mark != self._pending:
            self._pending = mark
            self._wake.set()

    def outputs(self, written: Mapping[str, str]) -> None:
        """Told with the next progress, or by themselves a little later."""
        if written and not self._outputs:
            asyncio.get_running_loop().call_later(self._rules.hold_outputs, self._ripen)
        self._outputs |= written

    def _ripen(self) -> None:
        self._ripe = bool(self._outputs)
        self._wake.set()

    @property
    def _has_news(self) -> bool:
        return self._pending is not None or self._ripe

    async def run(self) -> None:
        """Send reports until cancelled; the end of the attempt cancels it."""
        await self._await(lambda: self._started_at is not None)
        await asyncio.sleep(self._rules.hold_running)
        await self._send_running()
        interval, last = self._rules.first_interval, 0.0
        while self._sent < self._rules.max_progress:
            await self._await(lambda: self._has_news or self._redirected.is_set())
            if self._redirected.is_set():
                await self._send_running()
                continue
            if self._loop_time() < last + self._wait(interval):
                await self._doze(last + self._wait(interval) - self._loop_time())
                continue
            last = self._loop_time()
            await self._send_progress()
            interval *= self._rules.growth
        while True:
            await self._await(self._redirected.is_set)
            await self._send_running()

    def _wait(self, interval: float) -> float:
        pending = self._pending
        if pending is not None and pending.percent - self._last_percent >= self._rules.leap_percent:
            return self._rules.first_interval
        return interval

    async def _await(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._wake.clear()
            await self._wake.wait()

    async def _doze(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _send_running(self) -> None:
        self._redirected.clear()
        if self._started_at is not None:
            await self._send(ReportKind.RUNNING, at=self._started_at)

    async def _send_progress(self) -> None:
        mark, self._pending = self._pending, None
        outputs, self._outputs, self._ripe = self._outputs, {}, False
        if mark is None and not outputs:
            return
        self._sent += 1
        if mark is not None:
            self._last_percent = mark.percent
        await self._send(ReportKind.PROGRESS, at=self._clock(), mark=mark, outputs=outputs)

    async def _send(
        self,
        kind: ReportKind,
        *,
        at: datetime,
        mark: ProgressMark | None = None,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        """Send; RUNNING until it arrived (a redirect sends it anew), progress once."""
        report = StepReport(
            generation=self._key.generation,
            step_index=self._key.step_index,
            attempt=self._key.attempt,
            kind=kind,
            at=at,
            percent=mark.percent if mark else None,
            message=mark.message if mark else "",
            outputs=dict(outputs or {}),
        )
        while True:
            try:
                return await self._report(report)
            except Exception as error:
                _log.warning(
                    "report.failed",
                    action="report.failed",
                    pipeline_id=self._key.pipeline_id,
                    step=self._key.step_index,
                    attempt=self._key.attempt,
                    error=type(error).__name__,
                )
            if kind is ReportKind.PROGRESS:
                return None
            await asyncio.sleep(self._rules.retry_after)

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()
