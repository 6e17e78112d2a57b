"""The repository of placements and of the queue."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from gamepipe.model.forecast import Forecast
from gamepipe.model.record import Allocation, QueueEntry
from gamepipe.model.spec import PipelineSpec
from gamepipe.wire import (
    Notice,
    OfferMade,
    PlaceAnswer,
    PlaceRequest,
    RoomAsked,
    WithdrawRequest,
)


class PlacementRepository(Protocol):
    async def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        """Under the lock: the standing allocation (or an offer, while its node takes pipelines),
        else a new one, else a queue entry with a verdict per node. A newcomer never passes a queued
        pipeline that would fit, nor takes a node that is reserved for one. Those who were served
        before it are in `offers`, and those that are to make room, for it or for one before it, in
        `asked`, for the caller to tell."""

    async def withdraw(self, request: WithdrawRequest, *, now: datetime) -> tuple[Notice, ...]:
        """Leave the queue, release an untaken or taken allocation. Idempotent."""

    async def release(
        self, pipeline_id: str, generation: int, *, now: datetime
    ) -> tuple[Notice, ...]:
        """Release unless a live instance holds it. Idempotent."""

    async def reconcile(self, *, now: datetime) -> tuple[tuple[str, int], ...]:
        """Release allocations that nothing holds any more: their pipeline ended, or is on another
        node, no instance of it lives, and no stop is to be confirmed. (pipeline id, generation) of
        each. What follows for those that wait is written; `outstanding` has it."""

    async def offer(self, *, now: datetime, telling: bool = False) -> tuple[Notice, ...]:
        """Serve the queue in its order (`gamepipe.scheduling.order`): an allocation for each that
        fits, and pipelines that are to make room for one that does not. `telling`: the first of
        those that do not fit hear why, as things are now."""

    async def offer_nearer(self, regions: Collection[str], *, now: datetime) -> tuple[Notice, ...]:
        """As `offer`, if anybody waits whose players are in one of these regions and may not be
        too far; many calls at once share one pass."""

    async def outstanding(self) -> tuple[Notice, ...]:
        """What nobody has acted on yet: `untaken_offers` and `asked_for_room`."""

    async def untaken_offers(self) -> tuple[OfferMade, ...]: ...

    async def asked_for_room(self, for_pipeline: str = "") -> tuple[RoomAsked, ...]:
        """Who was asked to make room and has not left yet; for one pipeline, or for all."""

    async def live_allocations(self) -> tuple[Allocation, ...]: ...

    async def queue(self) -> tuple[QueueEntry, ...]:
        """By class, then by age."""

    async def forecast(
        self,
        spec: PipelineSpec,
        args: Mapping[str, str],
        *,
        now: datetime,
        count: int = 1,
        created: bool = False,
    ) -> Forecast:
        """What would become of copies of a pipeline that came now, one after the other: behind
        those who wait, by the limits, and beside what is reserved. Takes no lock and writes
        nothing. `created`: it exists already, and is not refused for a full queue."""

    async def outlook(self, pipeline_id: str, *, now: datetime) -> Forecast | None:
        """The same of one that waits, with its place in the queue; None: it does not wait."""

    async def queue_entry(self, pipeline_id: str) -> QueueEntry | None: ...

    async def live_pipelines_on(self, node_id: str) -> tuple[tuple[str, int], ...]:
        """(pipeline id, generation) of live allocations whose pipeline is not terminal."""
