"""Whatever happens in whatever order, no core of any node is held twice."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gamepipe.model.spec import PlacementRequest
from gamepipe.model.state import Connectivity, PipelineState
from gamepipe.ports import PipelineChange
from gamepipe.wire import PlaceStatus, SaveStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration, save_request, step

NODES = {"n1": 2, "n2": 3}
"""Cores of each."""
BUSY = 7
"""Pipelines at least, more than fit."""
ROUNDS = 120


@dataclass(kw_only=True)
class Run:
    """What a workflow would know of itself."""

    name: str
    run_id: str = "run-1"
    revision: int = 0
    generation: int = 1
    places: dict[int, str] = field(default_factory=dict)
    """By generation the node that it was told."""
    is_placed: bool = False
    is_over: bool = False


class Course:
    """Pipelines on a small fleet, to which things happen by chance."""

    def __init__(self, store: GamePipelineStore, seed: int) -> None:
        self._store, self._chance = store, random.Random(seed)
        self._now: datetime = NOW
        self.runs: list[Run] = []
        self.done: set[str] = set()
        """What has happened."""

    async def go(self) -> None:
        for node_id, cores in NODES.items():
            await self._store.nodes.register(registration(node_id, cpu=cores), now=NOW)
        for _ in range(ROUNDS):
            self._now += timedelta(seconds=self._chance.choice((1, 20, 90)))
            is_quiet = sum(not run.is_over for run in self.runs) < BUSY
            await (self.submit if is_quiet else self._chance.choice(self._possible()))()
            await self.check()

    def _possible(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.submit,
            self.ask,
            self.ask,
            self.leave,
            self.leave,
            self.complete,
            self.cancel,
            self.reset,
            self.reprioritise,
            self.blink,
            self.sweep,
        ]

    async def check(self) -> None:
        """The store's own account adds up, node by node."""
        held = dict.fromkeys(NODES, 0.0)
        live = await self._store.placements.live_allocations()
        for one in live:
            held[one.node_id] += one.resources.cpu
        assert all(held[node_id] <= cores for node_id, cores in NODES.items()), held
        runs = [run for run in self.runs if not run.is_over]
        rows = {run.name: await self._store.pipelines.get(run.name) for run in runs}
        for run in runs:
            record, place = rows[run.name], (run.name, run.generation)
            if record.state is PipelineState.RUNNING and run.is_placed:
                assert place in {(one.pipeline_id, one.generation) for one in live}
        for entry in await self._store.placements.queue():
            assert entry.generation == rows[entry.pipeline_id].generation

    # --- what happens ---------------------------------------------------------------------------

    def _any(self, *, placed: bool) -> Run | None:
        found = [run for run in self.runs if not run.is_over and run.is_placed is placed]
        return self._chance.choice(found) if found else None

    async def submit(self) -> None:
        run = Run(name=f"p{len(self.runs)}")
        self.runs.append(run)
        spec = new(
            run.name,
            cpu=self._chance.choice((1.0, 2.0)),
            priority=self._chance.choice((0, 0, 5)),
            placement=PlacementRequest(preemptible=self._chance.random() < 0.8),
        )
        await self._store.pipelines.add(spec, now=self._now)
        await self._ask(run)

    async def ask(self) -> None:
        if run := self._any(placed=False):
            await self._ask(run)

    async def _ask(self, run: Run) -> None:
        plain = place_request(run.name, revision=run.revision + 1, run_id=run.run_id)
        run.revision += 2
        changes: dict[str, Any] = {"generation": run.generation, "run_id": run.run_id}
        saved, placed = replace(plain.saved, **changes), replace(plain.placed, **changes)
        answer = await self._store.placements.place(
            replace(plain, saved=saved, placed=placed, generation=run.generation), now=self._now
        )
        if answer.placement is not None:
            run.is_placed, run.places[run.generation] = True, answer.placement.node_id
            self.done.add("placed")
        run.is_over = answer.status is PlaceStatus.CLOSED

    async def leave(self) -> None:
        """One that was asked makes room, and waits again."""
        asked = await self._store.placements.asked_for_room()
        named = {one.pipeline_id for one in asked}
        for run in self.runs:
            if run.name in named and run.is_placed and not run.is_over:
                await self._save(run, PipelineState.RUNNING, release=True)
                run.is_placed, run.generation = False, run.generation + 1
                self.done.add("preempted")
                await self._ask(run)
                return

    async def complete(self) -> None:
        if run := self._any(placed=True):
            await self._save(run, PipelineState.COMPLETED, release=True)
            run.is_over = True

    async def cancel(self) -> None:
        if run := self._any(placed=self._chance.random() < 0.5):
            await self._save(run, PipelineState.CANCELED, release=True)
            run.is_over = True

    async def reset(self) -> None:
        """To a point inside a generation that it was placed in, or before its first placement."""
        found = [run for run in self.runs if not run.is_over and run.places]
        left = [run for run in found if not run.is_placed]
        if not found:
            return
        run = self._chance.choice(left or found)
        run.run_id, run.revision = f"{run.run_id}+", 0
        run.generation = self._chance.choice(sorted(run.places))
        run.is_placed = True
        await self._store.pipelines.take_over(run.name, run_id=run.run_id, now=self._now)
        generation = run.generation
        steps = (step(0, generation=generation), step(1, generation=generation))
        status = await self._save(run, PipelineState.RUNNING, complete=True, steps=steps)
        run.is_over = status is SaveStatus.CLOSED
        run.is_placed = not run.is_over
        self.done.add("failed by a reset" if run.is_over else "went on behind a reset")

    async def reprioritise(self) -> None:
        if run := self._any(placed=self._chance.random() < 0.5):
            change = PipelineChange(priority=self._chance.choice((0, 3, 7)))
            await self._store.pipelines.update(run.name, change, now=self._now)

    async def blink(self) -> None:
        """A node is silent for a moment; its stops are confirmed."""
        node_id = self._chance.choice(sorted(NODES))
        await self._store.nodes.mark(node_id, Connectivity.SUSPECT, now=self._now)
        await self._store.placements.offer(now=self._now)
        await self._store.nodes.mark(node_id, Connectivity.ONLINE, now=self._now)
        for order in await self._store.nodes.stop_orders(node_id):
            await self._store.nodes.confirm_stop(order.id, node_id=node_id, now=self._now)
        await self._store.placements.offer(now=self._now)

    async def sweep(self) -> None:
        assert await self._store.placements.reconcile(now=self._now) == ()
        await self._store.placements.offer(now=self._now, telling=True)

    async def _save(self, run: Run, state: PipelineState, **changes: Any) -> SaveStatus:
        run.revision += 1
        request = save_request(run.name, run.revision, state, run_id=run.run_id)
        node_id = run.places.get(run.generation, "") if run.is_placed else ""
        request = replace(request, generation=run.generation, node_id=node_id, **changes)
        ack, _ = await self._store.pipelines.save(request, now=self._now)
        return ack.status


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_oversold(store: GamePipelineStore, seed: int) -> None:
    course = Course(store, seed)
    await course.go()
    assert {"placed", "preempted", "failed by a reset"} <= course.done
