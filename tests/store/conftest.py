"""One contract suite over both databases."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from store.store import GamePipelineStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[GamePipelineStore]:
    store = await GamePipelineStore.open(store_url)
    yield store
    await store.close()


@pytest.fixture
async def other(store: GamePipelineStore) -> GamePipelineStore:
    """Another process on the same database."""
    return await GamePipelineStore.open(store._database.url.render_as_string(hide_password=False))
