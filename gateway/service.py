"""`GamePipelineService`: the one layer of logic under REST and gRPC; reaches data by the store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.definition import check_change, content_digest
from gamepipe.model.errors import InvalidRequest, NotFound
from gamepipe.model.record import NewPipeline, PipelineRecord, StoredEvent
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.ports import PipelineChange, PipelineFilter, PipelinePage, Store
from gamepipe.starting import start_pipeline
from gamepipe.wire import CancelOrder, RunSettings
from gateway.draining import DrainService
from gateway.ending import PipelineEnder
from gateway.events import POLL_SECONDS, EventReader
from gateway.fleet import FleetService, check_grace
from gateway.identifier import check_pipeline_id, new_pipeline_id
from gateway.latency import LatencyService
from gateway.logs import LogReader
from gateway.planning import PlanService
from gateway.status import StatusService
from gateway.submission import Submission

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What `PATCH` may carry; None leaves a thing as it is."""

    name: str | None = None
    labels: dict[str, str] | None = None
    priority: int | None = None
    submission: Submission | None = None


class GamePipelineService:
    """Pipelines; `fleet` has nodes and instances, `latency` what is known of the network, `logs`
    and `events` read and follow, `plans` says where pipelines go and why."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        settings: RunSettings,
        now: Callable[[], datetime],
    ) -> None:
        self.store = store
        self._client = client
        self._settings = settings
        self._now = now
        self._notices = NoticeSender(client)
        self._ender = PipelineEnder(store=store, client=client, settings=settings, now=now)
        self.status = StatusService(store, client, self._ender)
        self.logs = LogReader(store)
        self.events = EventReader(store)
        self.latency = LatencyService(store=store, notices=self._notices, now=now)
        self.plans = PlanService(store, now=now)
        self.fleet = FleetService(
            store=store,
            ender=self._ender,
            emptier=self._ender.emptier,
            drains=DrainService(store=store, client=client, now=now),
            notices=self._notices,
            now=now,
        )

    async def create(self, submission: Submission) -> tuple[PipelineRecord, bool]:
        """Store and start; (record, created).

        The same id with the same content is answered with what exists. With Temporal down the
        pipeline stays `not_started`, and is started once Temporal is back.

        Raises:
            InvalidPipeline: with every mistake, before anything is stored.
            AlreadyExists: the id exists with other content.
            QueueFull: as many of its tenant wait as may.
            StoreUnavailable: nothing was stored.
        """
        bound = await asyncio.to_thread(submission.bind)  # a hostile file takes seconds
        pipeline_id = submission.id or bound.spec.id or new_pipeline_id(bound.spec.name)
        check_pipeline_id(pipeline_id)
        new = NewPipeline(
            id=pipeline_id,
            spec=replace(bound.spec, id=pipeline_id),
            args=dict(bound.args),
            envs=dict(bound.envs),
            secrets=dict(bound.secrets),
            content_digest=content_digest(bound),
        )
        record, created = await self.store.pipelines.add(new, now=self._now())
        if created:
            await self._start(record)
        return record, created

    async def _start(self, record: PipelineRecord) -> None:
        try:
            await start_pipeline(self._client, record, self._settings)
        except (RPCError, RuntimeError) as error:  # RuntimeError: no connection was ever made
            _log.warning(
                "pipeline.start_deferred",
                action="pipeline.start_deferred",
                pipeline_id=record.id,
                error=str(error),
            )

    async def get(self, pipeline_id: str) -> PipelineRecord:
        return await self.store.pipelines.get(pipeline_id)

    async def list(self, query: PipelineFilter) -> PipelinePage:
        return await self.store.pipelines.list(query)

    async def update(self, pipeline_id: str, change: Change) -> PipelineRecord:
        """Raises `IllegalTransition` for a definition once something was placed, `InvalidRequest`
        for a name, labels or a priority that no file may have."""
        check_change(name=change.name, labels=change.labels, priority=change.priority)
        bound = await asyncio.to_thread(change.submission.bind) if change.submission else None
        record, notices = await self.store.pipelines.update(
            pipeline_id,
            PipelineChange(
                name=change.name,
                labels=change.labels,
                priority=change.priority,
                definition=replace(bound.spec, id=pipeline_id) if bound else None,
                args=dict(bound.args) if bound else None,
                envs=dict(bound.envs) if bound else None,
                secrets=dict(bound.secrets) if bound else None,
                content_digest=content_digest(bound) if bound else "",
            ),
            now=self._now(),
        )
        await self._notices.send(notices)
        if bound and record.state is PipelineState.PENDING:
            # Its first generation waits in the queue, by the timeouts of the old definition.
            await self._notices.ask_again(pipeline_id, generation=1)
        return record

    async def cancel(
        self, pipeline_id: str, *, reason: str = "", grace: timedelta | None = None
    ) -> PipelineRecord:
        """Ask for the end; it comes within the grace. A second one only shortens the grace.

        Raises `IllegalTransition` for a pipeline that completed or failed.
        """
        check_grace(grace)
        seconds = None if grace is None else grace.total_seconds()
        order = CancelOrder(reason=reason, grace_seconds=seconds)
        return await self._ender.cancel(pipeline_id, order)

    async def delete(self, pipeline_id: str, *, force: bool = False) -> None:
        """Remove a terminal pipeline with its logs.

        With `force` a live one is canceled and its instances are stopped first. Raises
        `IllegalTransition` without it.
        """
        record = await self.store.pipelines.get(pipeline_id)
        if force:
            await self._ender.end(record)
        deleted = self.store.pipelines.delete(
            pipeline_id, incarnation=record.incarnation, now=self._now()
        )
        await self._notices.send(await deleted)

    async def step_index(self, pipeline_id: str, step: str) -> int | None:
        """Index of the step with this name or number; None for "". Raises `NotFound` for no
        pipeline, `InvalidRequest` for no step."""
        record = await self.get(pipeline_id)
        if not step:
            return None
        for one in record.spec.steps:
            if step in (one.name, str(one.index)):
                return one.index
        names = ", ".join(repr(one.name) for one in record.spec.steps[:20])
        raise InvalidRequest(f"pipeline {pipeline_id!r} has no step {step!r}; it has {names}")

    async def step_names(self, pipeline_id: str) -> tuple[str, ...]:
        """By index. Raises `NotFound`."""
        return tuple(step.name for step in (await self.get(pipeline_id)).spec.steps)

    async def watch(self, pipeline_id: str, *, after_id: int = 0) -> AsyncIterator[StoredEvent]:
        """Events behind `after_id`, and every further one until the pipeline has ended and no game
        of it runs. Raises `NotFound`."""
        await self.get(pipeline_id)
        wakeup = self.store.wakeup()
        while True:
            over = await self._is_over(pipeline_id)  # asked first
            events = await self.events.read(pipeline_id=pipeline_id, after_id=after_id)
            for event in events:
                after_id = event.id
                yield event
            if not events:
                if over:
                    return
                await wakeup.wait(timeout_seconds=POLL_SECONDS)

    async def _is_over(self, pipeline_id: str) -> bool:
        try:
            record = await self.store.pipelines.get(pipeline_id)
        except NotFound:
            return True
        live = await self.store.instances.list(pipeline_id=pipeline_id, live_only=True)
        return record.state.is_terminal and not live

    async def check_ready(self) -> None:
        """Raises `StoreUnavailable` or `TemporalUnavailable`."""
        await self.store.ping()
        await self._ender.check_temporal()
