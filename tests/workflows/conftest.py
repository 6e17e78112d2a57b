"""A real Temporal server, the real control worker on a real store, and scripted nodes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from gamepipe import searchattribute
from gamepipe.definition import bind, content_digest, parse_pipeline
from gamepipe.model.record import NewPipeline, PipelineRecord
from gamepipe.starting import start_pipeline
from gamepipe.wire import RunSettings, workflow_id
from store.store import GamePipelineStore
from tests.store_fixtures import NewStore
from tests.waiting import eventually
from tests.workflows.node import Behaviour, ScriptedNode, now, register
from worker import build_worker

_ids = itertools.count(1)

FAST = RunSettings(
    heartbeat_seconds=1.0,
    schedule_to_start_seconds=2.0,
    node_ttl_seconds=3.0,
    grace_seconds=1.0,
)


@dataclass
class Stack:
    """The control side of the service, with helpers to submit and to look."""

    client: Client
    store: GamePipelineStore
    settings: RunSettings = FAST
    nodes: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    gone: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def node(self, node_id: str = "", **behaviours: Behaviour) -> ScriptedNode:
        """Register a node and serve its queue until the test ends."""
        node = ScriptedNode(self.client, node_id or f"node{next(_ids)}", **behaviours)
        await register(self.store, node.id)
        await self.nodes.enter_async_context(node.worker())
        return node

    async def submit(
        self, text: str, *, pipeline_id: str = "", args: dict[str, str] | None = None
    ) -> WorkflowHandle[object, object]:
        bound = bind(parse_pipeline(text), args=args or {}, envs={}, secrets={})
        record, _ = await self.store.pipelines.add(
            NewPipeline(
                id=pipeline_id or f"p{next(_ids)}",
                spec=bound.spec,
                args=bound.args,
                content_digest=content_digest(bound),
            ),
            now=now(),
        )
        await start_pipeline(self.client, record, self.settings)
        return self.client.get_workflow_handle(workflow_id(record.id))

    async def record(self, handle: WorkflowHandle[object, object]) -> PipelineRecord:
        return await self.store.pipelines.get(handle.id.removeprefix("pipeline-"))

    async def listed_as(self, handle: WorkflowHandle[object, object], state: str) -> None:
        """Temporal's lists show the state; they learn of it a moment after the store, with the end
        of the workflow task."""

        async def shown() -> bool:
            attributes = (await handle.describe()).typed_search_attributes
            return attributes.get(searchattribute.STATE) == state

        await eventually(shown, what=f"{handle.id} to be listed as {state}")

    async def finish(
        self, handle: WorkflowHandle[object, object], *, seconds: float = 60
    ) -> PipelineRecord:
        """The record once the workflow has closed, however it closed."""

        async def closed() -> bool:
            return (await handle.describe()).close_time is not None

        await eventually(closed, seconds=seconds, what=f"{handle.id} to close")
        return await self.record(handle)

    async def history_length(self, handle: WorkflowHandle[object, object]) -> int:
        return (await handle.describe()).history_length

    def with_settings(self, **changes: float) -> None:
        self.settings = replace(self.settings, **changes)


@pytest.fixture
async def stack(
    temporal_client: Client, new_sqlite: NewStore, tmp_path: Path
) -> AsyncIterator[Stack]:
    store = await GamePipelineStore.open(new_sqlite(tmp_path))
    stack = Stack(client=temporal_client, store=store)
    async with build_worker(temporal_client, store):
        yield stack
        await stack.nodes.aclose()
    await store.close()


@pytest.fixture
def states() -> Callable[[PipelineRecord], dict[str, str]]:
    return lambda record: {step.name: step.state.value for step in record.steps}
