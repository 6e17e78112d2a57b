"""The id of a deleted pipeline, used again while the old one's workflow has not closed."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from activities.sweep import PipelineSweep
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.stopping import Stopper
from gamepipe.wire import CancelOrder, SaveRequest
from store.store import GamePipelineStore
from tests.waiting import eventually
from tests.workflows.conftest import FAST, Stack
from tests.workflows.node import now

OLD = """
name: old
steps:
  - {name: only, type: command, command: "true"}
"""
NEW = """
name: new
steps:
  - {name: first, type: command, command: "true"}
  - {name: second, type: command, command: "true"}
"""


@pytest.fixture
def sweep(stack: Stack) -> PipelineSweep:
    """Its clock is ahead: no row is too young for it."""
    return PipelineSweep(
        store=stack.store,
        client=stack.client,
        notices=NoticeSender(stack.client),
        settings=FAST,
        now=lambda: now() + timedelta(minutes=1),
    )


class LastSave:
    """Holds back the answer of a run's last save, which is committed."""

    def __init__(self, store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.committed, self.answer = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self._save = store.pipelines.save
        monkeypatch.setattr(store.pipelines, "save", self._held)

    async def _held(self, request: SaveRequest, *, now: datetime) -> Any:
        answer = await self._save(request, now=now)
        if request.release and not self.committed.is_set():
            self.committed.set()
            await self.answer.wait()
            if self.error:
                raise self.error
        return answer


@pytest.mark.parametrize(
    "error", [None, RuntimeError("the worker was killed before it answered")], ids=["late", "lost"]
)
async def test_the_old_run_writes_nothing_into_the_new_pipeline(
    stack: Stack, sweep: PipelineSweep, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    node = await stack.node()
    last = LastSave(stack.store, monkeypatch)
    last.error = error
    await stack.submit(OLD, pipeline_id=f"same-{node.id}")
    await last.committed.wait()
    await stack.store.pipelines.delete(f"same-{node.id}", now=now())
    handle = await stack.submit(NEW, pipeline_id=f"same-{node.id}")
    await sweep.run_once()
    record = await stack.record(handle)
    assert (record.state, record.run_id) == (PipelineState.NOT_STARTED, ""), "it waits"
    last.answer.set()

    async def ended() -> bool:
        await sweep.run_once()
        return (await stack.record(handle)).state.is_terminal

    await eventually(ended)
    record = await stack.record(handle)
    assert (record.state, record.reason) == (PipelineState.COMPLETED, "")
    assert [(step.name, step.state.value) for step in record.steps] == [
        ("first", "completed"),
        ("second", "completed"),
    ]
    assert node.names() == ["only", "first", "second"]


async def test_a_cancel_while_the_old_run_closes_is_of_the_new_pipeline(
    stack: Stack, sweep: PipelineSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await stack.node()
    last = LastSave(stack.store, monkeypatch)
    old = await stack.submit(OLD, pipeline_id=f"same-{node.id}")
    await last.committed.wait()
    await stack.store.pipelines.delete(f"same-{node.id}", now=now())
    handle = await stack.submit(NEW, pipeline_id=f"same-{node.id}")
    stopper = Stopper(store=stack.store, client=stack.client, now=now)
    record = await stopper.cancel(f"same-{node.id}", CancelOrder(reason="not any more"))
    assert (record.state, record.message) == (PipelineState.CANCELED, "not any more")
    last.answer.set()
    assert await old.result() is not None, "it completed, and nobody canceled it"
    await sweep.run_once()
    assert (await stack.record(handle)).state is PipelineState.CANCELED
    assert node.names() == ["only"]
