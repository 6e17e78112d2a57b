"""Attempts that an earlier agent began and that nobody follows: how they are ended."""

import asyncio
import traceback
from dataclasses import dataclass

import structlog

from gamepipe.agent.ending import failed
from gamepipe.agent.journal import AttemptEntry, AttemptJournal
from gamepipe.agent.late_sink import LateSink
from gamepipe.agent.plan import RunnerTools
from gamepipe.agent.runtime import StopRequest
from gamepipe.agent.spool import AttemptSpool
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import StepType
from gamepipe.wire import StepResult

_log = structlog.get_logger()

STOPPED = "the step was stopped"
CUT_OFF = "the node was cut off; the step is run again elsewhere"


async def end_of(
    task: "asyncio.Task[bool] | asyncio.Task[StepResult]", stop: StopRequest, *, until_gone: bool
) -> None:
    """Wait for the task, or until its attempt is gone and only lines are on their way."""
    gone = asyncio.ensure_future(stop.wait_gone())
    try:
        both = (task, gone) if until_gone else (task,)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()


@dataclass(frozen=True, kw_only=True)
class _Ending:
    stop: StopRequest
    task: "asyncio.Task[bool]"


class Leftovers:
    """Ends each once, whoever asks: what runs is stopped, what was written is spooled, and the end
    is remembered."""

    def __init__(self, tools: RunnerTools, journal: AttemptJournal) -> None:
        self._tools = tools
        self._journal = journal
        self._endings: dict[AttemptKey, _Ending] = {}

    async def end(
        self,
        key: AttemptKey,
        entry: AttemptEntry,
        *,
        grace_seconds: float | None = None,
        reason: str = reasons.CANCELED,
        message: str = STOPPED,
        until_gone: bool = False,
    ) -> bool:
        """Whether it ran; returns when its end is known, or as soon as nothing of it runs.

        A later, shorter grace counts; without one the attempt's own does. Raises what its runtime
        raises.
        """
        ending = self._endings.get(key) or self._start(key, entry)
        was_gone = ending.stop.is_gone
        grace = entry.grace_seconds if grace_seconds is None else grace_seconds
        ending.stop.set(grace_seconds=grace, reason=reason, message=message)
        await end_of(ending.task, ending.stop, until_gone=until_gone)
        return not was_gone and (not ending.task.done() or ending.task.result())

    async def is_up(self, key: AttemptKey, step_type: StepType) -> bool:
        """Whether it is a service that came up, so that only an order that names it may end it.
        Its end may not have reached the journal. Raises what its runtime raises."""
        runtime = self._tools.runtimes.get(step_type)
        return step_type is StepType.SERVICE and runtime is not None and await runtime.is_up(key)

    async def cut_off(self, key: AttemptKey, entry: AttemptEntry) -> None:
        """It runs again elsewhere, unless it is a game by now. Raises what its runtime raises."""
        if not await self.is_up(key, entry.step_type):
            await self.end(key, entry, reason=reasons.NODE_LOST, message=CUT_OFF)

    def begin(self, key: AttemptKey, entry: AttemptEntry) -> None:
        """Begin to end it, with its own grace; what fails is left to who asks next."""
        ending = self._endings.get(key) or self._start(key, entry)
        ending.stop.set(grace_seconds=entry.grace_seconds, reason=reasons.CANCELED, message=STOPPED)

    async def settle(self, key: AttemptKey) -> None:
        """Wait until the attempt is not being ended any more."""
        while (ending := self._endings.get(key)) is not None:
            await asyncio.wait((ending.task,))

    async def kill(self, key: AttemptKey, entry: AttemptEntry, *, grace_seconds: float) -> None:
        """End what nobody wants to know of any more."""
        await self.settle(key)
        runtime = self._tools.runtimes.get(entry.step_type)
        if runtime is not None:
            await runtime.kill(key, StopRequest.within(grace_seconds))
        spool = self._tools.spools.get(key)
        if spool is not None:
            await spool.finish()

    async def close(self) -> None:
        """Give up; the next agent ends them."""
        tasks = [ending.task for ending in self._endings.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: AttemptKey, entry: AttemptEntry) -> _Ending:
        stop = StopRequest()
        ending = _Ending(stop=stop, task=asyncio.create_task(self._end(key, entry, stop)))
        self._endings[key] = ending
        ending.task.add_done_callback(lambda task: self._drop(key, task))
        return ending

    def _drop(self, key: AttemptKey, task: "asyncio.Task[bool]") -> None:
        del self._endings[key]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _note(key, "leftover.not_ended", error)

    async def _end(self, key: AttemptKey, entry: AttemptEntry, stop: StopRequest) -> bool:
        await stop.wait()
        spool = self._tools.spools.open(key)
        spool.resume()
        spool.lift_limit()
        ran = await self._kill(key, entry, stop, spool)
        await self._journal.finish(key, entry, await self._result(key, stop, spool))
        return ran

    async def _kill(
        self, key: AttemptKey, entry: AttemptEntry, stop: StopRequest, spool: AttemptSpool
    ) -> bool:
        """Whether it ran. Lines that a full disk does not take are given up."""
        runtime = self._tools.runtimes.get(entry.step_type)
        if runtime is None:
            return False
        sink = LateSink(key, self._tools, spool, names_values=entry.names_values)
        try:
            ran = await runtime.kill(key, stop, sink=sink)
            await sink.flush()
        except OSError as error:
            _note(key, "leftover.lines_lost", error)
            return True
        return ran

    async def _result(self, key: AttemptKey, stop: StopRequest, spool: AttemptSpool) -> StepResult:
        try:
            await spool.finish()
        except OSError as error:
            _note(key, "spool.unwritable", error)
        return failed(
            stop.reason,
            stop.message,
            started_at=None,
            ended_at=self._tools.clock(),
            lines=spool.last_number,
        )


def _note(key: AttemptKey, action: str, error: BaseException) -> None:
    _log.warning(
        action,
        action=action,
        pipeline_id=key.pipeline_id,
        step=key.step_index,
        attempt=key.attempt,
        trace="".join(traceback.format_exception_only(error)).strip(),
    )
