"""Activities on the control queue: the only way from a workflow to the store."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.stuck import StuckMarker
from gamepipe.model.errors import NotFound
from gamepipe.model.state import InstanceState
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.wire import (
    CleanUp,
    InstanceEnded,
    PlaceAnswer,
    PlaceRequest,
    PlaceStatus,
    SaveAck,
    SaveRequest,
    SaveStatus,
    WithdrawRequest,
    workflow_id,
)

GATEWAY_GONE_AFTER = timedelta(days=1)
"""A gateway that beats again after that is listed again."""


class ControlActivities:
    """Each one is a store transaction, then the signals that follow from it."""

    def __init__(
        self, *, store: Store, client: Client, notices: NoticeSender, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._client = client
        self._notices = notices
        self._now = now
        self._stuck = StuckMarker(store, now=now)

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [
            self.place_pipeline,
            self.save_progress,
            self.withdraw_placement,
            self.begin_instance_stop,
            self.end_instance,
            self.clean_up_pipelines,
        ]

    @activity.defn(name="place_pipeline")
    async def place_pipeline(self, request: PlaceRequest) -> PlaceAnswer:
        """See `PlaceRequest`; a run that was reset takes the row over first."""
        saved, placed = _by_its_run(request.saved), _by_its_run(request.placed)
        request = replace(request, run_id=saved.run_id, saved=saved, placed=placed)
        try:
            return await self._place(request)
        except Exception as error:
            await self._stuck.note(request.saved, error)
            raise

    async def _place(self, request: PlaceRequest) -> PlaceAnswer:
        answer = await self._store.placements.place(request, now=self._now())
        if answer.status is PlaceStatus.CLOSED and await self._took_over(request.saved):
            answer = await self._store.placements.place(request, now=self._now())
        await self._notices.send(answer.notices)
        return replace(answer, notices=())

    @activity.defn(name="save_progress")
    async def save_progress(self, request: SaveRequest) -> SaveAck:
        """See `SaveRequest`; a run that was reset takes the row over first."""
        request = _by_its_run(request)
        try:
            return await self._save(request)
        except Exception as error:
            await self._stuck.note(request, error)
            raise

    async def _save(self, request: SaveRequest) -> SaveAck:
        ack, notices = await self._store.pipelines.save(request, now=self._now())
        if ack.status is SaveStatus.STALE_RUN and await self._took_over(request):
            ack, notices = await self._store.pipelines.save(request, now=self._now())
        await self._notices.send(notices)
        return ack

    @activity.defn(name="withdraw_placement")
    async def withdraw_placement(self, request: WithdrawRequest) -> None:
        await self._notices.send(await self._store.placements.withdraw(request, now=self._now()))

    @activity.defn(name="begin_instance_stop")
    async def begin_instance_stop(self, instance_id: str) -> None:
        """`stopping`, unless it ended meanwhile."""
        instance = await self._store.instances.get(instance_id)
        if not instance.state.is_terminal:
            await self._store.instances.observe(
                instance_id, InstanceState.STOPPING, now=self._now()
            )

    @activity.defn(name="end_instance")
    async def end_instance(self, ended: InstanceEnded) -> None:
        """`stopped`, and what it held is released; unless it was deleted with its pipeline."""
        try:
            instance = await self._store.instances.get(ended.instance_id)
        except NotFound:
            return
        if ended.node_id not in ("", instance.node_id):
            return
        _, notices = await self._store.instances.observe(
            ended.instance_id,
            InstanceState.STOPPED,
            exit_code=ended.end.exit_code,
            message=ended.end.message,
            now=self._now(),
        )
        await self._notices.send(notices)

    @activity.defn(name="clean_up_pipelines")
    async def clean_up_pipelines(self, clean_up: CleanUp) -> int:
        """Remove terminal pipelines that ended before the retention, with what hangs on them, then
        events as old, then forgotten probes and gateways that are gone; batch by batch. The number
        of pipelines."""
        now, limit = self._now(), clean_up.batch
        before = now - timedelta(seconds=clean_up.retention_seconds)
        pipelines, events = self._store.pipelines, self._store.events
        removed = await _in_batches(
            lambda: pipelines.cleanup(ended_before=before, limit=limit, now=now), limit
        )
        await _in_batches(lambda: events.cleanup(before=before, limit=limit), limit)
        latencies = self._store.latencies
        await _in_batches(lambda: latencies.cleanup(limit=limit, now=now), limit)
        await self._store.nodes.forget_gateways(silent_since=now - GATEWAY_GONE_AFTER)
        return removed

    async def _took_over(self, request: SaveRequest) -> bool:
        """Whether the run that asks is its workflow's present run and now owns a live row.

        A reset in Temporal's UI starts a new run that the store has not heard of. The sweep may
        have told it meanwhile: then the row is the run's already.
        """
        pipeline_id, run_id = request.pipeline_id, request.run_id
        try:
            record = await self._store.pipelines.get(pipeline_id)
        except NotFound:
            return False
        if record.state.is_terminal or record.incarnation != request.incarnation:
            return False
        if record.run_id == run_id:
            return True
        description = await self._client.get_workflow_handle(workflow_id(pipeline_id)).describe()
        if description.run_id != run_id:
            return False
        await self._store.pipelines.take_over(pipeline_id, run_id=run_id, now=self._now())
        return True


def _by_its_run(request: SaveRequest) -> SaveRequest:
    """A reset hands what was on its way to the new run, with the id of the old one in it."""
    return replace(request, run_id=activity.info().workflow_run_id or request.run_id)


async def _in_batches(remove: Callable[[], Awaitable[int]], limit: int) -> int:
    removed = batch = await remove()
    while batch == limit:
        activity.heartbeat(removed)
        batch = await remove()
        removed += batch
    return removed
