"""One attempt, followed from its assignment to its end."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import structlog

from gamepipe.agent.ending import Refused, ended, explain, failed
from gamepipe.agent.late_sink import LateSink
from gamepipe.agent.mask import Masker, MaskingSink, not_masked
from gamepipe.agent.output import ProgressReader
from gamepipe.agent.plan import RunnerTools, key_of, make_plan, names_values, permitted
from gamepipe.agent.reporter import AttemptReporter, Report
from gamepipe.agent.runtime import Exit, Runtime, StepPlan, StopRequest
from gamepipe.agent.spool import AttemptSpool
from gamepipe.agent.values import Values, ValuesRefused, fetch_patiently
from gamepipe.model import reason as reasons
from gamepipe.model.interpolation import InterpolationError, render_step
from gamepipe.model.record import LogStream
from gamepipe.model.spec import Step
from gamepipe.model.state import StepState
from gamepipe.wire import StepAssignment, StepResult

_log = structlog.get_logger()
_T = TypeVar("_T")


class AttemptRun:
    """Runs or adopts one attempt; everything that goes wrong becomes its result."""

    def __init__(
        self, assignment: StepAssignment, run_id: str, report: Report, *, tools: RunnerTools
    ) -> None:
        self.key = key_of(assignment)
        self.assignment = assignment
        self.run_id = run_id
        self.stop = StopRequest()
        self.task: asyncio.Task[StepResult]
        """Set by the runner that starts it."""
        self.reporter = AttemptReporter(
            self.key, report, rules=tools.settings.reports, clock=tools.clock
        )
        self._tools = tools
        self._masker = Masker(())
        self._shown: list[str] = []
        self._spool: AttemptSpool | None = None
        self._sink: MaskingSink | None = None
        self._step: Step = assignment.step
        self._started_at: datetime | None = None
        self._adopted = False

    @property
    def runtime(self) -> Runtime | None:
        return self._tools.runtimes.get(self.assignment.step.type)

    async def execute(
        self,
        *,
        make_way: Callable[[], Awaitable[None]],
        begin: Callable[[], Awaitable[datetime]],
        adopted: bool,
    ) -> StepResult:
        """The end of the attempt; raises only CancelledError (then it is left for adoption).

        Args:
            make_way: ends what must not run beside this attempt.
            begin: remembers that it has begun; the time when it first did.
            adopted: it has begun before this agent started, and so does not wait for a slot.
        """
        self._adopted = adopted
        try:
            runtime = permitted(self.assignment.step.type, self._tools)
            await make_way()
            async with self._slot(waits=not adopted), self._beside(self._limit_time(await begin())):
                plan = await self._plan()
                leave = await self._follow(runtime, plan)
                result = await asyncio.to_thread(self._judge, leave, plan)
                await self._drop_failed_service(runtime, leave, result)
        except Refused as refusal:
            if adopted:
                await self._end_adopted()
            result = self._failed(refusal.reason, str(refusal), retryable=refusal.retryable)
        except Exception as error:
            result = await self._break_off(error)
        return await self._close(result)

    # --- before it starts -----------------------------------------------------------------------

    @asynccontextmanager
    async def _slot(self, *, waits: bool) -> AsyncIterator[None]:
        slots = self._tools.slots
        if waits:
            await self._unless_stopped(slots.wait_and_take())
        else:
            slots.take()
        try:
            yield
        finally:
            slots.give_back()

    async def _plan(self) -> StepPlan:
        values = await self._unless_stopped(self._fetch_values())
        self._masker = Masker((*values.envs.values(), *values.secrets.values()))
        self._shown = not_masked({**values.envs, **values.secrets})
        try:
            self._step = render_step(
                self.assignment.step,
                self.assignment.scope,
                envs=values.envs,
                secrets=values.secrets,
            )
        except InterpolationError as error:
            raise Refused(reasons.INTERPOLATION_FAILED, self._masker.mask(error.message)) from None
        return await asyncio.to_thread(make_plan, self.assignment, self._step, self._tools)

    async def _fetch_values(self) -> Values:
        if not names_values(self.assignment.scope):
            return Values()
        settings = self._tools.settings
        try:
            return await fetch_patiently(
                self._tools.values,
                self.key,
                every=settings.fetch_retry,
                token_seconds=None if self._adopted else settings.token_seconds,
                on_wait=lambda error: self._note("values.unavailable", error=str(error)),
            )
        except ValuesRefused as error:
            raise Refused(reasons.RUNNER_ERROR, str(error)) from error

    # --- while it runs --------------------------------------------------------------------------

    async def _follow(self, runtime: Runtime, plan: StepPlan) -> Exit:
        if self.stop.is_set:
            raise self._stopped_early()
        self._spool = spool = self._tools.spools.open(self.key)
        spool.resume()
        if self._shown and not spool.last_number:
            text = f"too short to be masked in this log: the value of {', '.join(self._shown)}"
            await spool.write(LogStream.SYSTEM, text, at=self._tools.clock())
        self._sink = sink = MaskingSink(spool, self._masker)
        async with self._beside(
            self.reporter.run(), self._watch_progress(plan), self._lift_limit_on_stop(spool)
        ):
            leave = await runtime.run(
                plan,
                sink,
                on_running=self._on_running,
                on_progress=self._on_progress,
                stop=self.stop,
            )
            await sink.flush()
        return leave

    async def _on_running(self, at: datetime) -> None:
        self._started_at = at
        self.reporter.running(at)

    async def _on_progress(self, percent: float | None, message: str) -> None:
        self.reporter.progress(percent, self._masker.mask(message))

    async def _watch_progress(self, plan: StepPlan) -> None:
        reader = ProgressReader(plan.output_file, plan.step.outputs, mask=self._masker.mask)
        while True:
            if (mark := reader.poll()) is not None:
                await self._on_progress(mark.percent, mark.message)
            self.reporter.outputs(reader.take_outputs())
            await asyncio.sleep(self._tools.settings.progress_poll)

    async def _lift_limit_on_stop(self, spool: AttemptSpool) -> None:
        await self.stop.wait()
        spool.lift_limit()

    async def _limit_time(self, begun_at: datetime) -> None:
        limit = self.assignment.timeout_seconds
        if limit is None:
            return
        passed = (self._tools.clock() - begun_at).total_seconds()
        await asyncio.sleep(max(0.0, limit - passed))
        self.stop.set(
            grace_seconds=self.assignment.grace_seconds,
            reason=reasons.STEP_TIMEOUT,
            message=f"the step ran longer than its timeout of {limit:g} s",
        )

    # --- its end --------------------------------------------------------------------------------

    def _judge(self, leave: Exit, plan: StepPlan) -> StepResult:
        return ended(
            leave,
            plan,
            masker=self._masker,
            lines=self._spool.last_number if self._spool else 0,
            tail=self._sink.tail if self._sink else (),
        )

    async def _drop_failed_service(self, runtime: Runtime, leave: Exit, result: StepResult) -> None:
        """A service that is up, but whose outputs are refused, must not stay."""
        if leave.service_up and result.state is StepState.FAILED:
            await runtime.kill(self.key, StopRequest.within(self.assignment.grace_seconds))

    async def _break_off(self, error: Exception) -> StepResult:
        """Kill what runs, and say what happened; without values of secrets."""
        self._note("attempt.broken", trace="".join(traceback.format_exception(error)))
        await self._kill(self.assignment.grace_seconds)
        reason, message = explain(error)
        return self._failed(reason, message)

    async def _end_adopted(self) -> None:
        """It began under an earlier agent, and will not be followed: take in what it wrote."""
        self._spool = spool = self._tools.spools.open(self.key)
        spool.resume()
        spool.lift_limit()
        named = names_values(self.assignment.scope)
        sink = LateSink(self.key, self._tools, spool, names_values=named)
        await self._kill(self.stop.grace_seconds, sink)

    async def _kill(self, grace_seconds: float, sink: LateSink | None = None) -> None:
        """Nothing of the attempt may run behind its end."""
        stop = self.stop if self.stop.is_set else StopRequest.within(grace_seconds)
        try:
            if self.runtime is not None:
                await self.runtime.kill(self.key, stop, sink=sink)
            if sink is not None:
                await sink.flush()
        except Exception as error:
            self._note("attempt.kill_failed", trace="".join(traceback.format_exception(error)))

    async def _close(self, result: StepResult) -> StepResult:
        """The end may be told only behind the last line."""
        if self._spool is None:
            return result
        try:
            await self._spool.finish()
        except OSError as error:
            self._note("spool.unwritable", trace=str(error))
        return result

    def _failed(self, reason: str, message: str, *, retryable: bool = True) -> StepResult:
        return failed(
            reason,
            self._masker.mask(message),
            started_at=self._started_at,
            ended_at=self._tools.clock(),
            retryable=retryable,
            lines=self._spool.last_number if self._spool else 0,
        )

    # --- small parts ----------------------------------------------------------------------------

    async def _unless_stopped(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The work's result; a stop that comes first refuses the attempt."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
            stopped.cancel()
        raise self._stopped_early()

    def _stopped_early(self) -> Refused:
        timed_out = self.stop.reason == reasons.STEP_TIMEOUT
        return Refused(
            self.stop.reason if timed_out else reasons.STOPPED_BEFORE_START,
            self.stop.message or "the step was stopped before it started",
            retryable=timed_out,
        )

    @asynccontextmanager
    async def _beside(self, *work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run the work beside the block; it is cancelled at its end."""
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(end, Exception):
                    self._note("attempt.watcher_failed", trace=repr(end))

    def _note(self, action: str, **facts: str) -> None:
        masked = {name: self._masker.mask(fact) for name, fact in facts.items()}
        _log.warning(
            action,
            action=action,
            pipeline_id=self.key.pipeline_id,
            step=self.key.step_index,
            attempt=self.key.attempt,
            node_id=self._tools.settings.node_id,
            **masked,
        )
