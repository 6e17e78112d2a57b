"""The sweep: compares the store with Temporal and repairs what crashes left behind.

Idempotent, so that several workers may run it; a lease keeps them from doing it twice.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.stuck import STUCK_AFTER_ATTEMPTS
from gamepipe.model import reason as reasons
from gamepipe.model.errors import GamePipeError, RevisionConflict
from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.starting import is_of, start_pipeline
from gamepipe.wire import RoomAsked, RunSettings, workflow_id

_log = structlog.get_logger()

RUNNING_PIPELINES = "WorkflowType = 'GamePipeline' AND ExecutionStatus = 'Running'"

QUIET = timedelta(seconds=30)
"""A live row that was not saved for this long is looked at closely on every pass."""

TELL_AGAIN = timedelta(seconds=30)
"""Whoever was told to make room, and has not begun to leave, is told no sooner."""

START_GRACE = timedelta(seconds=5)
"""How long the gateway that stored a row has for starting its workflow itself."""


class PipelineSweep:
    """Starts rows without a workflow, ends rows whose workflow is gone, sends notices again."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        notices: NoticeSender,
        settings: RunSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._client = client
        self._notices = notices
        self._settings = settings
        self._now = now
        self._told: dict[RoomAsked, datetime] = {}
        """When each of those that are to make room was told last."""

    async def run_once(self) -> None:
        """One pass. A row that cannot be repaired now is logged and tried again next time."""
        live = await self._store.pipelines.list_live()
        for record in await self._suspects(live):
            await self._attempt(record)
        await self._reconcile()
        await self._store.placements.offer(now=self._now(), telling=True)
        await self._notices.send(await self._store.placements.untaken_offers())
        await self._notices.send(await self._not_told_of_late())

    async def _not_told_of_late(self) -> list[RoomAsked]:
        """Who is to make room: each signal stays in a history, and a stop takes its time."""
        now, told = self._now(), self._told
        asked = await self._store.placements.asked_for_room()
        due = [one for one in asked if one not in told or now - told[one] >= TELL_AGAIN]
        self._told = {one: told[one] for one in asked if one in told} | dict.fromkeys(due, now)
        return due

    async def _reconcile(self) -> None:
        """Whoever ends releases what it held; what is found here nevertheless is a fault."""
        for pipeline_id, generation in await self._store.placements.reconcile(now=self._now()):
            _log.error(
                "sweep.allocation_orphaned",
                action="sweep.allocation_orphaned",
                pipeline_id=pipeline_id,
                generation=generation,
            )

    async def _suspects(self, live: Sequence[PipelineRecord]) -> list[PipelineRecord]:
        """Rows to look at closely: those that Temporal's list does not show as running under the
        run that owns them (the list lags a little), and those that have not moved for a while."""
        if not live:
            return []
        running: dict[str, str] = {}
        async for execution in self._client.list_workflows(RUNNING_PIPELINES, page_size=1000):
            running[execution.id] = execution.run_id
        quiet_before = self._now() - QUIET
        return [
            record
            for record in live
            if running.get(workflow_id(record.id)) != record.run_id
            or record.updated_at < quiet_before
        ]

    async def _attempt(self, record: PipelineRecord) -> None:
        """Whatever happens with one row, the others are looked at."""
        try:
            await self._check(record)
        except RevisionConflict:
            return  # it moved while we looked: the next pass sees the new state
        except (RPCError, GamePipeError) as error:
            _log.warning(
                "sweep.pipeline_failed",
                action="sweep.pipeline_failed",
                pipeline_id=record.id,
                error=str(error),
            )
        except Exception as error:
            _log.error(
                "sweep.pipeline_broken",
                action="sweep.pipeline_broken",
                pipeline_id=record.id,
                error=repr(error),
                exc_info=error,
            )

    async def _check(self, record: PipelineRecord) -> None:
        description = await self._describe(record)
        if description is None:
            await self._start_or_lose(record)
        elif not await is_of(record, description):
            await self._follow(record, description)
        elif description.status is not WorkflowExecutionStatus.RUNNING:
            await self._lose(record, description)
        else:
            await self._compare_run(record, description)

    async def _describe(self, record: PipelineRecord) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(workflow_id(record.id)).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _follow(
        self, record: PipelineRecord, description: WorkflowExecutionDescription
    ) -> None:
        """The workflow of a deleted pipeline of the same id: its successor waits for its end."""
        if description.status is not WorkflowExecutionStatus.RUNNING:
            await self._start_or_lose(record)

    async def _start_or_lose(self, record: PipelineRecord) -> None:
        """No workflow: never started, or Temporal lost it."""
        if record.state is not PipelineState.NOT_STARTED or record.run_id:
            await self._mark_lost(record, "Temporal does not know its workflow any more")
        elif self._now() - record.created_at > START_GRACE:
            run_id = await start_pipeline(self._client, record, self._settings)
            if run_id:
                await self._store.pipelines.mark_started(record.id, run_id=run_id)

    async def _lose(
        self, record: PipelineRecord, description: WorkflowExecutionDescription
    ) -> None:
        """The workflow ended without saving the end: somebody terminated it, or it failed."""
        status = description.status.name.lower() if description.status else "gone"
        await self._mark_lost(record, f"its workflow was {status} in Temporal")

    async def _mark_lost(self, record: PipelineRecord, message: str) -> None:
        current = await self._store.pipelines.get(record.id)
        seen = (record.incarnation, record.revision)
        if current.state.is_terminal or (current.incarnation, current.revision) != seen:
            return
        _, notices = await self._store.pipelines.update_status(
            record.id,
            PipelineState.FAILED,
            reason=reasons.WORKFLOW_LOST,
            message=message,
            now=self._now(),
            run_id=record.run_id or None,
        )
        _log.error(
            "sweep.workflow_lost",
            action="sweep.workflow_lost",
            pipeline_id=record.id,
            message=message,
        )
        await self._notices.send(notices)

    async def _compare_run(
        self, record: PipelineRecord, description: WorkflowExecutionDescription
    ) -> None:
        if record.run_id and description.run_id != record.run_id:
            await self._store.pipelines.take_over(
                record.id, run_id=description.run_id, now=self._now()
            )
        pending = description.raw_description.pending_workflow_task
        stuck = pending.attempt >= STUCK_AFTER_ATTEMPTS
        if stuck and record.reason != reasons.WORKFLOW_STUCK:
            _log.error("sweep.workflow_stuck", action="sweep.workflow_stuck", pipeline_id=record.id)
            await self._store.pipelines.update_status(
                record.id,
                record.state,
                reason=reasons.WORKFLOW_STUCK,
                message=f"its workflow task failed {pending.attempt} times; see Temporal's UI",
                now=self._now(),
            )
