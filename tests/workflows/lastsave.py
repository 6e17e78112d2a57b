"""The save with which a run ends that continues as new, and how to hold it back."""

import asyncio
from datetime import datetime

import pytest

from gamepipe.wire import SaveRequest
from tests.workflows.conftest import Stack

SUGGESTED_AFTER = 20
"""Events of history after which the server suggests to continue as new."""


class LastSave:
    """Holds back the save with which a run ends that continues as new."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self._save = stack.store.pipelines.save
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        monkeypatch.setattr(stack.store.pipelines, "save", self.save)

    async def save(self, request: SaveRequest, *, now: datetime) -> object:
        if not self.begun.is_set() and await self._is_the_one(request):
            self.begun.set()
            await self.go_on.wait()
        return await self._save(request, now=now)

    async def _is_the_one(self, request: SaveRequest) -> bool:
        if request.release or request.progress.current:
            return False
        handle = self._stack.client.get_workflow_handle(f"pipeline-{request.pipeline_id}")
        return (await handle.describe()).history_length >= SUGGESTED_AFTER
