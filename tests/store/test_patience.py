"""While somebody leaves, nobody else is asked; one that does not leave is waited for no longer."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gamepipe.model.state import Connectivity, NodeState, PipelineState
from gamepipe.ports import NodeChange, OfferMade
from gamepipe.scheduling.order_policy import OrderPolicy
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.preempting import PREEMPTIBLE, submit
from tests.store.shapes import registration, save_request

PLAYED = NOW + timedelta(minutes=5)


async def one_core_each(store: GamePipelineStore, count: int) -> None:
    """Nodes of one core each, with one on each that may be preempted; the last is the youngest."""
    for number in range(count):
        await store.nodes.register(registration(f"n{number}", cpu=1), now=NOW)
    for number in range(count):
        at = NOW + timedelta(seconds=number)
        await submit(store, f"low{number}", at, placement=PREEMPTIBLE)


async def making_room(store: GamePipelineStore) -> list[str]:
    return [one.pipeline_id for one in await store.placements.asked_for_room()]


async def test_a_node_that_is_closed_for_a_moment_has_nobody_else_asked(
    store: GamePipelineStore,
) -> None:
    await one_core_each(store, 3)
    high = await submit(store, "high", PLAYED, priority=5)
    (asked,) = high.notices
    await store.nodes.mark(asked.node_id, Connectivity.SUSPECT, now=PLAYED)
    await store.placements.offer(now=PLAYED + timedelta(seconds=20), telling=True)
    assert await store.placements.asked_for_room() == (asked,)
    await store.nodes.mark(asked.node_id, Connectivity.ONLINE, now=PLAYED)
    await store.placements.offer(now=PLAYED + timedelta(seconds=40), telling=True)
    assert await store.placements.asked_for_room() == (asked,)


async def test_one_that_has_not_confirmed_its_stop_has_nobody_else_asked(
    store: GamePipelineStore,
) -> None:
    await one_core_each(store, 2)
    (asked,) = (await submit(store, "high", PLAYED, priority=5)).notices
    request = save_request(
        asked.pipeline_id, 3, PipelineState.RUNNING, node_id=asked.node_id, release=True
    )
    await store.pipelines.save(replace(request, hold_for_node=True), now=PLAYED)
    await store.placements.offer(now=PLAYED + timedelta(seconds=20), telling=True)
    preempted = [one for one in await store.placements.live_allocations() if one.preempted_for]
    assert [one.pipeline_id for one in preempted] == [asked.pipeline_id]


@pytest.mark.parametrize("how", ["lost", "disabled", "in maintenance"])
async def test_a_node_that_is_gone_is_not_waited_for(store: GamePipelineStore, how: str) -> None:
    await one_core_each(store, 2)
    (asked,) = (await submit(store, "high", PLAYED, priority=5)).notices
    if how == "lost":
        await store.nodes.mark(asked.node_id, Connectivity.LOST, now=PLAYED)
    else:
        state = NodeState.DISABLED if how == "disabled" else NodeState.MAINTENANCE
        await store.nodes.update(asked.node_id, NodeChange(state=state), now=PLAYED)
    await store.placements.offer(now=PLAYED, telling=True)
    assert sorted(await making_room(store)) == ["low0", "low1"]


async def test_one_that_does_not_leave_is_not_waited_for_forever(
    store: GamePipelineStore,
) -> None:
    await one_core_each(store, 3)
    first = await submit(store, "high", PLAYED, priority=5)
    assert len(first.notices) == 1
    patience = OrderPolicy().patience
    await store.placements.offer(now=PLAYED + patience / 2, telling=True)
    assert len(await making_room(store)) == 1
    await store.placements.offer(now=PLAYED + patience, telling=True)
    assert len(await making_room(store)) == 2
    await store.placements.offer(now=PLAYED + 1.5 * patience, telling=True)
    assert len(await making_room(store)) == 2


async def test_whoever_was_stuck_and_leaves_after_all_makes_the_room(
    store: GamePipelineStore,
) -> None:
    await one_core_each(store, 2)
    (stuck,) = (await submit(store, "high", PLAYED, priority=5)).notices
    late = PLAYED + OrderPolicy().patience
    await store.placements.offer(now=late, telling=True)
    gone = save_request(
        stuck.pipeline_id, 3, PipelineState.RUNNING, node_id=stuck.node_id, release=True
    )
    _, notices = await store.pipelines.save(gone, now=late)
    assert notices == (OfferMade(pipeline_id="high", generation=1, node_id=stuck.node_id),)
