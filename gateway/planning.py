"""Where pipelines go, why, and why not: answers that change nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gamepipe.model import reason as reasons
from gamepipe.model.errors import InvalidRequest
from gamepipe.model.forecast import Forecast
from gamepipe.model.record import GenerationRecord, PipelineRecord, QueueEntry
from gamepipe.ports import Store
from gamepipe.wire import RoomAsked
from gateway.submission import Submission

MOST_COPIES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Of a pipeline in the queue."""

    entry: QueueEntry
    position: int
    """From 1, by class and then by age."""
    queue_length: int
    forecast: Forecast | None
    """Of itself, as things stand now; None: a limit is why it waits, not the nodes."""
    making_room: tuple[RoomAsked, ...] = ()
    """Those that it preempts, and that have yet to leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Where a pipeline runs and ran, and how that was chosen; or why it waits."""

    record: PipelineRecord
    generations: tuple[GenerationRecord, ...]
    waiting: Waiting | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Where copies of a pipeline would go now."""

    name: str
    queue_length: int
    """Pipelines that wait: those of no lower priority are served first."""
    forecast: Forecast


class PlanService:
    """Takes no lock and writes nothing."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def why(self, pipeline_id: str) -> Why:
        """Raises `NotFound`."""
        record = await self._store.pipelines.get(pipeline_id)
        generations = await self._store.pipelines.generations(pipeline_id)
        return Why(record=record, generations=generations, waiting=await self._waiting(record))

    async def _waiting(self, record: PipelineRecord) -> Waiting | None:
        queue = await self._store.placements.queue()
        for position, entry in enumerate(queue, start=1):
            if entry.pipeline_id == record.id:
                return Waiting(
                    entry=entry,
                    position=position,
                    queue_length=len(queue),
                    forecast=await self._forecast(record, entry),
                    making_room=await self._store.placements.asked_for_room(record.id),
                )
        return None

    async def _forecast(self, record: PipelineRecord, entry: QueueEntry) -> Forecast | None:
        if entry.reason == reasons.LIMIT_REACHED:
            return None
        return await self._store.placements.forecast(
            record.spec, record.args, now=self._now(), entry=entry
        )

    async def plan(self, submission: Submission, *, count: int = 1) -> Plan:
        """Raises `InvalidPipeline` as its creation would, and `InvalidRequest` for a count."""
        if not 1 <= count <= MOST_COPIES:
            raise InvalidRequest(f"count is from 1 to {MOST_COPIES}")
        bound = await asyncio.to_thread(submission.bind)  # a hostile file takes seconds
        queue = await self._store.placements.queue()
        forecast = await self._store.placements.forecast(
            bound.spec, dict(bound.args), now=self._now(), count=count
        )
        return Plan(name=bound.spec.name, queue_length=len(queue), forecast=forecast)
