"""The loop of the worker: one of several sweeps, and nothing ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from gamepipe.config import Settings
from gamepipe.definition import bind, content_digest, parse_pipeline
from gamepipe.model.errors import StoreUnavailable
from gamepipe.model.latency import Probe, region
from gamepipe.model.node import Location
from gamepipe.model.record import NewPipeline
from gamepipe.model.state import PipelineState
from gamepipe.ports import NodeChange
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order_policy import OrderPolicy
from store.store import GamePipelineStore
from tests.temporal_fixtures import TemporalServer
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import now, register
from tests.workflows.test_run import THREE
from worker import Sweeper

FAST = Settings(sweep_interval=0.05)  # type: ignore[arg-type]


@asynccontextmanager
async def sweeping(sweeper: Sweeper) -> AsyncIterator["asyncio.Task[None]"]:
    shutdown = asyncio.Event()
    task = asyncio.create_task(sweeper.run(shutdown))
    try:
        yield task
    finally:  # one that went on behind a failed test would slow down all others
        shutdown.set()
        await task


class Passes:
    """Counts the passes of a sweeper over pipelines."""

    def __init__(self, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._run = sweeper._pipelines.run_once
        monkeypatch.setattr(sweeper._pipelines, "run_once", self._counted)

    async def _counted(self) -> None:
        self.count += 1
        await self._run()


async def test_one_of_two_workers_sweeps_and_the_other_follows_when_it_stops(
    stack: Stack, temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await Client.connect(temporal_server.address, identity="another worker")
    first = Sweeper(stack.client, stack.store, FAST)
    second = Sweeper(other, stack.store, FAST)
    passes = [Passes(one, monkeypatch) for one in (first, second)]
    async with sweeping(second):
        async with sweeping(first):
            await eventually(lambda: sum(one.count for one in passes) >= 5)
            idle, busy = sorted(passes, key=lambda one: one.count)
            assert idle.count == 0
            assert busy.count >= 5
        before = passes[1].count
        await eventually(lambda: passes[1].count > before)


async def test_a_bug_in_one_pass_ends_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def broken() -> Any:
        nonlocal calls
        calls += 1
        raise ValueError("one odd row")

    monkeypatch.setattr(stack.store.pipelines, "list_live", broken)
    async with sweeping(Sweeper(stack.client, stack.store, FAST)) as task:
        await eventually(lambda: calls >= 3)
        assert not task.done()


async def test_a_row_that_cannot_be_read_does_not_stop_the_others(stack: Stack) -> None:
    await stack.node()
    bound = bind(parse_pipeline(THREE), args={}, envs={}, secrets={})
    for name in ("odd", "fine"):
        new = NewPipeline(id=name, spec=bound.spec, content_digest=content_digest(bound))
        await stack.store.pipelines.add(new, now=now() - timedelta(minutes=1))
    damage = text("UPDATE pipeline SET spec = '{}' WHERE id = 'odd'")
    await stack.store._database.write(lambda tx: tx.session.connection().execute(damage) and None)

    async def completed() -> bool:
        return (await stack.store.pipelines.get("fine")).state is PipelineState.COMPLETED

    async with sweeping(Sweeper(stack.client, stack.store, FAST)):
        await eventually(completed)


async def test_what_was_probed_is_made_use_of_for_other_nodes(stack: Stack) -> None:
    for name in ("n1", "n2"):
        await register(stack.store, name)
        place = NodeChange(location=Location(zone="z"))
        await stack.store.nodes.update(name, place, now=now())
    probe = Probe(source=region("se"), node_id="n1", rtt_ms=30, at=now())
    await stack.store.latencies.report([probe], now=now())

    async def known() -> bool:
        found = await stack.store.latencies.estimates("n2", now=now())
        return [one.how for one in found] == ["predicted"]

    async with sweeping(Sweeper(stack.client, stack.store, FAST)):
        await eventually(known, what="a prediction for the other node of the zone")


SHORT = timedelta(seconds=0.6)


async def test_a_renewal_that_is_under_way_is_not_written_behind_the_end(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper, real, written = Sweeper(stack.client, stack.store, FAST), stack.store.lease, []
    sweeper._lease_ttl = SHORT
    renews, may_end, may_write = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def lease(name: str, holder: str, *, ttl: timedelta, now: datetime) -> bool:
        async def write() -> bool:
            """As in a thread, which nobody can cancel."""
            if written and ttl:
                renews.set()
                await may_write.wait()
            written.append(ttl)
            return await real(name, holder, ttl=ttl and timedelta(hours=1), now=now)

        return await asyncio.shield(write())

    monkeypatch.setattr(stack.store, "lease", lease)
    monkeypatch.setattr(sweeper._pipelines, "run_once", may_end.wait)
    shutdown = asyncio.Event()
    task = asyncio.create_task(sweeper.run(shutdown))
    await renews.wait()
    shutdown.set()
    may_end.set()
    for part in (sweeper._nodes, sweeper._emptier, sweeper._stops):
        monkeypatch.setattr(part, "run_once", may_end.wait)
    monkeypatch.setattr(sweeper, "_settle", may_end.wait)
    for _ in range(20):  # whatever does not wait for the renewal goes on
        await asyncio.sleep(0)
    may_write.set()
    await task
    assert written == [SHORT, SHORT, timedelta(0)]
    assert await real("sweep", "another", ttl=SHORT, now=now())


async def test_a_pass_whose_lease_was_lost_stops_before_its_next_part(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper, real, asked = Sweeper(stack.client, stack.store, FAST), stack.store.lease, []
    sweeper._lease_ttl = SHORT
    parts: list[str] = []

    async def lease(name: str, holder: str, *, ttl: timedelta, now: datetime) -> bool:
        asked.append(ttl)
        if len(asked) > 1:
            raise StoreUnavailable("away")
        return await real(name, holder, ttl=ttl, now=now)

    async def first() -> None:
        parts.append("first")
        await eventually(lambda: len(asked) >= 6, what="the lease to run out")

    async def second() -> None:
        parts.append("second")

    monkeypatch.setattr(stack.store, "lease", lease)
    monkeypatch.setattr(sweeper._pipelines, "run_once", first)
    monkeypatch.setattr(sweeper._nodes, "run_once", second)
    async with sweeping(sweeper):
        await eventually(lambda: len(asked) >= 8, what="the next passes")
    assert parts == ["first"]


# --- one pass, and the next one far away ---------------------------------------------------------

SLOW = Settings(sweep_interval=3600)  # type: ignore[arg-type]


async def waiting(stack: Stack, definition: str) -> str:
    handle = await stack.submit(definition)
    pipeline_id = handle.id.removeprefix("pipeline-")

    async def waits() -> bool:
        return await stack.store.placements.queue_entry(pipeline_id) is not None

    await eventually(waits, what=f"{pipeline_id} to wait")
    return pipeline_id


async def completes(stack: Stack, pipeline_id: str) -> None:
    async def completed() -> bool:
        return (await stack.store.pipelines.get(pipeline_id)).state is PipelineState.COMPLETED

    await eventually(completed, what=f"{pipeline_id} to complete")


async def test_what_is_known_anew_of_latencies_is_offered_at_once(stack: Stack) -> None:
    for name in ("n1", "n2"):
        await stack.node(name)
        place = NodeChange(location=Location(zone="z"))
        await stack.store.nodes.update(name, place, now=now())
    probe = Probe(source=region("se"), node_id="n1", rtt_ms=30, at=now())
    await stack.store.latencies.report([probe], now=now())
    pipeline_id = await waiting(
        stack, f"{THREE}\nplacement: {{node: n2, player_region: se, max_latency_ms: 100}}"
    )
    async with sweeping(Sweeper(stack.client, stack.store, SLOW)):
        await completes(stack, pipeline_id)


async def test_a_worker_with_other_limits_offers_at_once_whoever_sweeps(
    stack: Stack, tmp_path: Path
) -> None:
    await stack.node()
    stack.store._database.order = OrderPolicy(limits=Limits(most={"tenant": {"*": 0}}))
    pipeline_id = await waiting(stack, THREE)
    assert (await stack.store.pipelines.get(pipeline_id)).reason == "LIMIT_REACHED"
    store = await GamePipelineStore.open(f"sqlite:///{tmp_path / 'store.db'}")
    await store.lease("sweep", "another", ttl=timedelta(hours=1), now=now())
    async with sweeping(Sweeper(stack.client, store, SLOW)):
        await completes(stack, pipeline_id)
    await store.close()
