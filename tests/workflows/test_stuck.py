"""A run that cannot go on is retried without limit, and people are told."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from activities import stuck as activities_stuck
from activities import sweep as activities_sweep
from activities.sweep import PipelineSweep
from gamepipe.definition import bind, content_digest, parse_pipeline
from gamepipe.model.errors import StoreUnavailable
from gamepipe.model.record import NewPipeline
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.starting import INCARNATION
from gamepipe.wire import CONTROL_QUEUE, SaveRequest, workflow_id
from tests.waiting import eventually
from tests.workflows.conftest import FAST, Stack
from tests.workflows.node import now, until_stopped
from tests.workflows.test_run import THREE


class Saves:
    """Fail until `mended` is set."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.mended = asyncio.Event()
        self.failures = 0
        self._error = error
        self._save = stack.store.pipelines.save
        monkeypatch.setattr(stack.store.pipelines, "save", self._try)

    async def _try(self, request: SaveRequest, *, now: datetime) -> Any:
        if self.mended.is_set():
            return await self._save(request, now=now)
        self.failures += 1
        raise self._error


async def test_a_save_that_keeps_failing_is_told_and_forgotten_once_it_succeeds(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Saves(stack, monkeypatch, ValueError("MARKED cannot be stored"))
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()

    async def told() -> bool:
        return (await stack.record(handle)).reason == "WORKFLOW_STUCK"

    await eventually(told)
    record = await stack.record(handle)
    assert record.state is PipelineState.RUNNING
    assert "ValueError" in record.message
    assert "MARKED" not in record.message
    assert saves.failures >= activities_stuck.STUCK_AFTER_ATTEMPTS
    saves.mended.set()
    await handle.cancel()
    ended = await stack.finish(handle)
    assert (ended.state, ended.reason) == (PipelineState.CANCELED, "CANCELED")


async def test_a_store_that_is_away_marks_nobody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = Saves(stack, monkeypatch, StoreUnavailable("away"))
    node = await stack.node(two=until_stopped)
    handle = await stack.submit(THREE)
    await node.started["two"].wait()
    await eventually(lambda: saves.failures > activities_stuck.STUCK_AFTER_ATTEMPTS)
    assert (await stack.record(handle)).reason == ""
    saves.mended.set()
    await handle.cancel()
    await stack.finish(handle)


async def test_a_workflow_task_that_keeps_failing_is_told(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities_sweep, "STUCK_AFTER_ATTEMPTS", 2)
    bound = bind(parse_pipeline(THREE), args={}, envs={}, secrets={})
    record, _ = await stack.store.pipelines.add(
        NewPipeline(id="stuck", spec=bound.spec, content_digest=content_digest(bound)), now=now()
    )
    handle = await stack.client.start_workflow(
        "GamePipeline",
        {"pipeline_id": "stuck", "of": "another version, which this worker cannot read"},
        id=workflow_id("stuck"),
        task_queue=CONTROL_QUEUE,
        memo={INCARNATION: record.incarnation},
    )
    sweep = PipelineSweep(
        store=stack.store,
        client=stack.client,
        notices=NoticeSender(stack.client),
        settings=FAST,
        now=now,
    )

    async def told() -> bool:
        await sweep.run_once()
        return (await stack.store.pipelines.get("stuck")).reason == "WORKFLOW_STUCK"

    await eventually(told)
    assert (await stack.store.pipelines.get("stuck")).state is PipelineState.NOT_STARTED
    await handle.terminate()
