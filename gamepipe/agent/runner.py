"""The step runner: every attempt of the node, each followed once, whoever asks for it.

An attempt belongs to the workflow run that asked for it (`run_id`). What another run left under
the same numbers (the pipeline was deleted and made anew, or reset) is killed and forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from gamepipe.agent.attempt import AttemptRun
from gamepipe.agent.attempt_key import gives_way, is_meant
from gamepipe.agent.ending import failed
from gamepipe.agent.folder import checked_id, remove_tree
from gamepipe.agent.journal import AttemptEntry, AttemptJournal
from gamepipe.agent.leftover import CUT_OFF, STOPPED, Leftovers, end_of
from gamepipe.agent.plan import RunnerTools, key_of
from gamepipe.agent.removal import clean_after, remove_generation
from gamepipe.agent.reporter import Report
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey
from gamepipe.model.state import StepState
from gamepipe.wire import (
    CleanWorkspace,
    InstanceEnd,
    StepAssignment,
    StepResult,
    StopAnswer,
    StopInstanceOrder,
    StopStep,
)

_log = structlog.get_logger()

StopInstance = Callable[[StopInstanceOrder], Awaitable[InstanceEnd]]
JOURNAL_KEPT = timedelta(days=7)
"""Ends are remembered longer than any dispatch of theirs can still be on its way."""


class StepRunner:
    """Runs, adopts and stops attempts. Safe to ask twice for everything."""

    def __init__(
        self, tools: RunnerTools, journal: AttemptJournal, *, stop_instance: StopInstance
    ) -> None:
        self._tools = tools
        self._journal = journal
        self._stop_instance = stop_instance
        self._leftovers = Leftovers(tools, journal)
        self._live: dict[AttemptKey, AttemptRun] = {}

    @property
    def running_steps(self) -> int:
        return self._tools.slots.used

    async def run(
        self, assignment: StepAssignment, *, report: Report, run_id: str = ""
    ) -> StepResult:
        """Follow an attempt to its end; its failure is a result, not an exception.

        The same attempt again attaches to the one that runs (reports then go to `report`), or
        answers the end that is known. A cancelled call leaves the attempt running.
        """
        key = key_of(assignment)
        checked_id(key.pipeline_id)
        while (live := self._live.get(key)) is not None and live.run_id != run_id:
            await self._stop_run(live, grace_seconds=assignment.grace_seconds)
        await self._leftovers.settle(key)
        live = self._live.get(key)
        if live is not None:
            live.reporter.redirect(report)
            return await asyncio.shield(live.task)
        known = await self._known_end(key, run_id, grace_seconds=assignment.grace_seconds)
        if known is not None:
            return known
        run = AttemptRun(assignment, run_id, report, tools=self._tools)
        self._live[key] = run
        run.task = asyncio.create_task(self._drive(run))
        return await asyncio.shield(run.task)

    async def stop(self, order: StopStep, *, run_id: str = "") -> StopAnswer:
        """Stop an attempt (or all of a step); returns once nothing of it runs any more. Its last
        lines may still be on their way: its end is told behind them."""
        await self._journal.mark_stopped(order, run_id)
        return StopAnswer(was_running=await self._stop_step(order))

    async def is_up(self, assignment: StepAssignment) -> bool:
        """Whether it is a service that came up. Raises what its runtime raises."""
        return await self._leftovers.is_up(key_of(assignment), assignment.step.type)

    async def stop_generation(
        self, pipeline_id: str, generation: int, step_index: int | None, *, grace_seconds: float
    ) -> None:
        """Carry out a stored stop order: one step, or everything, which then is removed too."""
        indices = {
            key.step_index
            for key in (*self._live, *(key for key, _ in self._journal.unfinished()))
            if (key.pipeline_id, key.generation) == (pipeline_id, generation)
        }
        wanted = indices if step_index is None else {step_index}
        orders = [
            StopStep(
                pipeline_id=pipeline_id,
                generation=generation,
                step_index=index,
                attempt=None,
                grace_seconds=grace_seconds,
            )
            for index in sorted(wanted)
        ]
        await asyncio.gather(*(self._stop_step(order) for order in orders))
        if step_index is None:
            await self.clean(CleanWorkspace(pipeline_id=pipeline_id, generation=generation))

    async def stop_instance(self, order: StopInstanceOrder) -> InstanceEnd:
        """Stop a service that was left running; one that is gone already answers too."""
        return await self._stop_instance(order)

    async def clean(self, order: CleanWorkspace) -> None:
        """Remove workspace, containers and files of a generation; stops what still runs of it."""
        generation = (order.pipeline_id, order.generation)
        await asyncio.gather(
            *(self._stop_run(run, grace_seconds=0.0) for run in self._of_generation(*generation)),
            *(
                self._leftovers.end(key, entry, grace_seconds=0.0)
                for key, entry in self._left()
                if (key.pipeline_id, key.generation) == generation
            ),
        )
        await remove_generation(
            self._tools, order.pipeline_id, order.generation, keep_services=False
        )

    async def stop_cut_off(self) -> None:
        """This node has been silent too long: stop the steps that will be run elsewhere, those
        too that an earlier agent left behind. Safe to repeat, as it is while the silence lasts."""
        ends = await asyncio.gather(
            *(
                self._stop_run(
                    run,
                    grace_seconds=run.assignment.grace_seconds,
                    reason=reasons.NODE_LOST,
                    message=CUT_OFF,
                )
                for run in self._live.values()
                if run.assignment.stop_when_cut_off
            ),
            *(
                self._leftovers.cut_off(key, entry)
                for key, entry in self._left()
                if entry.stop_when_cut_off
            ),
            return_exceptions=True,
        )
        for error in ends:
            if isinstance(error, Exception):
                _log.error("cut_off.stop_failed", action="cut_off.stop_failed", error=repr(error))

    async def recover(self) -> None:
        """Finish stops and removals that an earlier agent did not come to, forget old ends."""
        for key, entry in self._left():
            if self._journal.is_stopped(key, entry.run_id):
                self._leftovers.begin(key, entry)
        for key, entry in self._journal.newest():
            completed = entry.result is not None and entry.result.state is StepState.COMPLETED
            workspace = self._tools.folders.workspace(key.pipeline_id, key.generation)
            busy = self._of_generation(key.pipeline_id, key.generation)
            if completed and entry.clean_after and workspace.exists() and not busy:
                await clean_after(self._tools, key)
        self._journal.prune(before=self._tools.clock() - JOURNAL_KEPT)

    async def close(self) -> None:
        """Follow nothing any more; what runs goes on and is adopted by the next agent."""
        tasks = [run.task for run in self._live.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leftovers.close()

    # --- one attempt ----------------------------------------------------------------------------

    async def _known_end(
        self, key: AttemptKey, run_id: str, *, grace_seconds: float
    ) -> StepResult | None:
        entry = self._journal.entry(key, run_id)
        if entry is not None and entry.result is not None:
            return entry.result
        if not self._journal.is_stopped(key, run_id):
            return None
        if entry is not None:  # it was stopped while it ran, and the agent died over it
            await self._leftovers.end(key, entry, grace_seconds=grace_seconds)
            entry = self._journal.entry(key, run_id)
            return entry.result if entry is not None else None
        return failed(
            reasons.STOPPED_BEFORE_START,
            "the step was stopped before it started",
            started_at=None,
            ended_at=self._tools.clock(),
            retryable=False,
        )

    async def _drive(self, run: AttemptRun) -> StepResult:
        try:
            entry = self._journal.entry(run.key, run.run_id)
            result = await run.execute(
                make_way=lambda: self._end_others(run),
                begin=lambda: self._begin(run),
                adopted=entry is not None,
            )
            await self._finish(run, result)
            if run.assignment.clean_after and result.state is StepState.COMPLETED:
                await clean_after(self._tools, run.key)
            return result
        finally:
            del self._live[run.key]

    async def _begin(self, run: AttemptRun) -> datetime:
        """Remember that the attempt has begun; the time when it first did."""
        entry = self._journal.entry(run.key, run.run_id)
        if entry is None:
            entry = self._entry(run)
            await self._journal.begin(run.key, entry)
        return entry.begun_at

    def _entry(self, run: AttemptRun) -> AttemptEntry:
        return AttemptEntry.of(run.assignment, run.run_id, begun_at=self._tools.clock())

    async def _finish(self, run: AttemptRun, result: StepResult) -> None:
        entry = self._journal.entry(run.key, run.run_id) or self._entry(run)
        await self._journal.finish(run.key, entry, result)

    async def _end_others(self, run: AttemptRun) -> None:
        """End older attempts, older generations and what another workflow run left here."""
        grace = run.assignment.grace_seconds
        older = [other for other in self._live.values() if gives_way(other.key, run.key)]
        await asyncio.gather(*(self._stop_run(other, grace_seconds=grace) for other in older))
        for key, entry in self._left():
            if gives_way(key, run.key):
                await self._leftovers.end(key, entry, grace_seconds=grace)
        foreign = self._journal.any_entry(run.key)
        if foreign is not None and foreign.run_id != run.run_id:
            await self._leftovers.kill(run.key, foreign, grace_seconds=grace)
            await asyncio.to_thread(remove_tree, self._tools.folders.attempt(run.key))
            await self._tools.spools.open(run.key).restart(at=self._tools.clock())
            self._journal.forget(run.key)

    # --- stopping -------------------------------------------------------------------------------

    async def _stop_step(self, order: StopStep) -> bool:
        grace = order.grace_seconds
        stopped = await asyncio.gather(
            *(
                self._stop_run(run, grace_seconds=grace, until_gone=True)
                for run in self._live.values()
                if is_meant(order, run.key)
            ),
            *(
                self._leftovers.end(key, entry, grace_seconds=grace, until_gone=True)
                for key, entry in self._left()
                if is_meant(order, key)
            ),
        )
        return any(stopped)

    def _left(self) -> list[tuple[AttemptKey, AttemptEntry]]:
        """What began before this agent did and is not followed (yet)."""
        return [one for one in self._journal.unfinished() if one[0] not in self._live]

    async def _stop_run(
        self,
        run: AttemptRun,
        *,
        grace_seconds: float,
        reason: str = reasons.CANCELED,
        message: str = STOPPED,
        until_gone: bool = False,
    ) -> bool:
        """Whether it ran; returns behind its last line, or as soon as nothing of it runs."""
        ran = not run.stop.is_gone
        run.stop.set(grace_seconds=grace_seconds, reason=reason, message=message)
        await end_of(run.task, run.stop, until_gone=until_gone)
        return ran

    # --- removal --------------------------------------------------------------------------------

    def _of_generation(self, pipeline_id: str, generation: int) -> list[AttemptRun]:
        return [
            run
            for run in self._live.values()
            if (run.key.pipeline_id, run.key.generation) == (pipeline_id, generation)
        ]
