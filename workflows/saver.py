"""Saves what changed: one save in flight per pipeline, retried without limit, nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model.changelog import Unsaved
    from gamepipe.model.run import RunBook
    from gamepipe.model.state import PipelineState
    from gamepipe.wire import (
        PipelineStart,
        PlaceAnswer,
        PlaceRequest,
        PlaceStatus,
        SaveAck,
        SaveRequest,
        SaveStatus,
    )

from workflows import policy
from workflows.storing import ask_store, size_of
from workflows.waiting import wait_at_most


class Saver:
    """Owns the revision; builds every `SaveRequest` of the run."""

    def __init__(self, start: PipelineStart, book: RunBook) -> None:
        self._start = start
        self._book = book
        self._lock = asyncio.Lock()
        self.revision = start.carried.revision if start.carried else 0
        self.node_id = ""
        self._hurried = False
        self.closed = False
        """The store refused a save: the pipeline ended or belongs to another run."""
        self.placing = False
        """The store is asked for a placement: what it answers is the next thing to be told."""
        self.under_way = 0
        """Saves and placements that are asked for or wait for their turn."""

    async def follow(self) -> None:
        """Save what changed, for as long as the run lasts. The end of a step waits a moment for
        the start of the next one: each save has its price in history."""
        while True:
            await workflow.wait_condition(lambda: self._book.dirty)
            await wait_at_most(lambda: self._hurried, policy.GATHER, summary="gather changes")
            self._hurried = False
            await self.save(only_if_dirty=True)

    def hurry(self) -> None:
        """What changed is news that people wait for: save it at once."""
        self._hurried = True

    async def save(self, *, only_if_dirty: bool = False, **flags: Any) -> None:
        """Save now; returns when the store acknowledged it."""
        async with self._turn():
            if only_if_dirty and not self._book.dirty:
                return
            request = self._request(self._book.take_unsaved(), **flags)
            ack = await self._send(request)
            if ack.status is SaveStatus.INCOMPLETE:
                ack = await self._send(self._completed(request))
            self.closed = self.closed or ack.status is not SaveStatus.SAVED

    async def place(self, avoid: tuple[str, ...], definition_revision: int) -> PlaceAnswer:
        """Ask for a placement; the same transaction saves `pending`, or `running` with room."""
        async with self._turn():
            saved = self._request(self._book.take_unsaved())
            self._book.preview_running()
            placed = self._request(self._book.take_unsaved(), state=PipelineState.RUNNING)
            request = PlaceRequest(
                pipeline_id=self._start.pipeline_id,
                generation=self._book.generation,
                run_id=saved.run_id,
                definition_revision=definition_revision,
                saved=saved,
                placed=placed,
                avoid=avoid,
            )
            self.placing = self._start.recorded_saves
            answer = await self._ask(request)
            if answer.status is PlaceStatus.INCOMPLETE:
                answer = await self._ask(replace(request, saved=self._completed(saved)))
            self.placing = False
            self._take(answer)
            return answer

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self.under_way += 1
        try:
            async with self._lock:
                yield
        finally:
            self.under_way -= 1

    async def _send(self, request: SaveRequest) -> SaveAck:
        return cast(SaveAck, await self._ask_store("save_progress", request, SaveAck))

    async def _ask(self, request: PlaceRequest) -> PlaceAnswer:
        return cast(PlaceAnswer, await self._ask_store("place_pipeline", request, PlaceAnswer))

    async def _ask_store(self, activity: str, request: object, result_type: type) -> Any:
        recorded = self._start.recorded_saves and size_of(request) <= policy.RECORDED_BYTES
        return await ask_store(activity, request, result_type, recorded=recorded)

    def _completed(self, request: SaveRequest) -> SaveRequest:
        """With every step: this run was reset, and the store has steps of the run before it."""
        return replace(request, steps=tuple(self._book.steps), complete=True)

    def _take(self, answer: PlaceAnswer) -> None:
        if answer.status is PlaceStatus.PLACED:
            assert answer.placement is not None  # noqa: S101 - the answer's contract
            self.node_id = answer.placement.node_id
            self._book.confirm_running()
        else:
            self._book.forget_running(answer.summary, answer.reason)
            self.closed = self.closed or answer.status is PlaceStatus.CLOSED

    def _request(self, unsaved: Unsaved, **changes: Any) -> SaveRequest:
        self.revision += 1
        info = workflow.info()
        book = self._book
        request = SaveRequest(
            pipeline_id=self._start.pipeline_id,
            incarnation=self._start.incarnation,
            run_id=info.run_id,
            previous_run_id=info.continued_run_id or "",
            revision=self.revision,
            state=book.state,
            reason=book.reason,
            message=book.message,
            generation=book.generation,
            node_id=self.node_id,
            progress=book.progress(),
            started_at=book.started_at,
            ended_at=book.ended_at,
            steps=unsaved.steps,
            events=unsaved.events,
            instances=unsaved.instances,
        )
        return replace(request, **changes)
