"""Where pipelines go, why, and why not: answers that change nothing."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.forecast import Forecast
from gamepipe.model.record import GenerationRecord, PipelineRecord, QueueEntry
from gamepipe.model.spec import PipelineSpec
from gamepipe.ports import Store
from gamepipe.wire import RoomAsked
from gateway.submission import Submission

MOST_COPIES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Of a pipeline in the queue."""

    entry: QueueEntry
    forecast: Forecast
    """Of itself, as things stand now."""
    making_room: tuple[RoomAsked, ...] = ()
    """Those that it preempts, and that have yet to leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What would become of copies of a pipeline now."""

    name: str
    forecast: Forecast


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Where a pipeline runs and ran, and how that was chosen; or why it waits."""

    record: PipelineRecord
    generations: tuple[GenerationRecord, ...]
    waiting: Waiting | None = None
    plan: Plan | None = None
    """Of one that has not asked for a node yet."""


class PlanService:
    """Takes no lock and writes nothing."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def why(self, pipeline_id: str) -> Why:
        """Raises `NotFound`."""
        record = await self._store.pipelines.get(pipeline_id)
        generations = await self._store.pipelines.generations(pipeline_id)
        waiting = await self._waiting(record)
        asks = not (record.state.is_terminal or generations or waiting)
        plan = await self._forecast(record.spec, record.args, created=True) if asks else None
        return Why(record=record, generations=generations, waiting=waiting, plan=plan)

    async def _waiting(self, record: PipelineRecord) -> Waiting | None:
        entry = await self._store.placements.queue_entry(record.id)
        if entry is None:
            return None
        forecast = await self._store.placements.outlook(record.id, now=self._now())
        if forecast is None:
            return None
        making = await self._store.placements.asked_for_room(record.id)
        return Waiting(entry=entry, forecast=forecast, making_room=making)

    async def plan(self, submission: Submission, *, count: int = 1) -> Plan:
        """Raises `InvalidPipeline` as its creation would, and `InvalidRequest` for a count."""
        if not 1 <= count <= MOST_COPIES:
            raise InvalidRequest(f"count is from 1 to {MOST_COPIES}")
        bound = await asyncio.to_thread(submission.bind)  # a hostile file takes seconds
        return await self._forecast(bound.spec, bound.args, count=count)

    async def _forecast(
        self, spec: PipelineSpec, args: Mapping[str, str], *, count: int = 1, created: bool = False
    ) -> Plan:
        forecast = await self._store.placements.forecast(
            spec, dict(args), now=self._now(), count=count, created=created
        )
        return Plan(name=spec.name, forecast=forecast)
