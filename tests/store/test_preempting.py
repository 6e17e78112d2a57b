"""Who is asked to make room, once; and to whom goes what they leave."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gamepipe.model.state import PipelineState
from gamepipe.ports import OfferMade, PipelineChange
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.wire import PlaceStatus
from store.placing import place_all
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.preempting import (
    LATER,
    PREEMPTIBLE,
    come_back,
    full,
    leave,
    room,
    submit,
    withdrawal,
)
from tests.store.shapes import new, place_request, registration, save_request


async def test_one_of_a_higher_class_has_the_youngest_leave_and_gets_their_place(
    store: GamePipelineStore,
) -> None:
    await full(store, "old", "young")
    await store.pipelines.add(new("elder", placement=PREEMPTIBLE), now=NOW)
    later = NOW + timedelta(minutes=5)
    high = await submit(store, "high", later, priority=5)
    assert (high.status, high.notices) == (PlaceStatus.QUEUED, (room("young", "high"),))
    assert high.summary.startswith("high waits for 1 pipeline to make room on node n1: young")
    assert await store.placements.asked_for_room() == (room("young", "high"),)
    small = await submit(store, "small", later)
    assert (small.status, small.notices) == (PlaceStatus.QUEUED, ())
    assert await leave(store, "young") == (
        OfferMade(pipeline_id="high", generation=1, node_id="n1"),
    )
    assert await store.placements.asked_for_room() == ()


async def test_one_that_was_preempted_is_not_again_while_a_younger_one_runs(
    store: GamePipelineStore,
) -> None:
    await full(store, "a", "b")
    high = await submit(store, "high", NOW + timedelta(seconds=30), priority=5)
    assert high.notices == (room("b", "high"),)
    await leave(store, "b")
    await leave(store, "a", PipelineState.COMPLETED)
    await submit(store, "young", NOW + timedelta(seconds=40), placement=PREEMPTIBLE)
    await store.placements.withdraw(withdrawal("high"), now=LATER)
    back = await come_back(store, "b", 4, generation=2)
    assert back.status is PlaceStatus.PLACED
    other = await submit(store, "other", NOW + timedelta(minutes=10), priority=5)
    assert other.notices == (room("young", "other"),)


async def test_asked_again_it_names_the_same(store: GamePipelineStore) -> None:
    await full(store, "low", "other")
    first = await submit(store, "high", priority=5)
    again = await store.placements.place(place_request("high", revision=3), now=LATER)
    assert again.notices == first.notices != ()
    await store.placements.offer(now=LATER, telling=True)
    assert await store.placements.asked_for_room() == first.notices
    (entry,) = await store.placements.queue()
    assert "waits for 1 pipeline to make room on node n1" in entry.summary


async def test_nobody_else_gets_what_was_left_before_it_is_enough(
    store: GamePipelineStore,
) -> None:
    await full(store, "a", "b")
    high = await submit(store, "high", priority=5, cpu=2.0)
    assert {one.pipeline_id for one in high.notices} == {"a", "b"}
    assert await leave(store, "a") == ()
    assert (await submit(store, "small", LATER)).status is PlaceStatus.QUEUED
    as_high = await submit(store, "as-high", LATER, priority=5, tenant="other")
    assert (as_high.status, as_high.notices) == (PlaceStatus.QUEUED, ())
    (offer,) = await leave(store, "b")
    assert offer.pipeline_id == "high"


async def test_one_that_was_preempted_waits_at_its_old_place(store: GamePipelineStore) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    await submit(store, "between", NOW + timedelta(seconds=30))
    await leave(store, "low")
    assert (await come_back(store, "low", 4, generation=2)).status is PlaceStatus.QUEUED
    assert [one.pipeline_id for one in await store.placements.queue()] == ["low", "between"]
    (generation,) = await store.pipelines.generations("low")
    assert generation.preempted_for == "high"
    await store.placements.place(place_request("high", revision=3), now=LATER)
    (offer,) = await store.placements.release("high", 1, now=LATER)
    assert (offer.pipeline_id, offer.generation) == ("low", 2)


async def test_one_that_was_preempted_twice_keeps_its_first_place(
    store: GamePipelineStore,
) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    await leave(store, "low")
    await store.placements.withdraw(withdrawal("high"), now=LATER)
    assert (await come_back(store, "low", 4, generation=2)).status is PlaceStatus.PLACED
    await submit(store, "higher", LATER, priority=6)
    gone = save_request("low", 6, PipelineState.RUNNING, generation=2, node_id="n1", release=True)
    await store.pipelines.save(gone, now=LATER)
    await come_back(store, "low", 7, generation=3)
    (entry,) = await store.placements.queue()
    assert (entry.pipeline_id, entry.queued_at) == ("low", NOW)


async def test_one_that_ends_by_itself_first_makes_the_room_too(store: GamePipelineStore) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    (offer,) = await leave(store, "low", state=PipelineState.COMPLETED)
    assert offer.pipeline_id == "high"
    (generation,) = await store.pipelines.generations("low")
    assert generation.preempted_for == ""


@pytest.mark.parametrize(
    "spec", [{"priority": 5, "placement": PREEMPTIBLE}, {"priority": 0}], ids=["equal", "firm"]
)
async def test_equal_ones_and_those_that_did_not_offer_it_stay(
    store: GamePipelineStore, spec: dict[str, Any]
) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await submit(store, "runs", **spec)
    high = await submit(store, "high", priority=5)
    assert (high.status, high.notices) == (PlaceStatus.QUEUED, ())


async def test_an_offer_that_nobody_took_is_left_alone(store: GamePipelineStore) -> None:
    await full(store, "first")
    await submit(store, "offered", placement=PREEMPTIBLE)
    await store.placements.release("first", 1, now=NOW)
    high = await submit(store, "high", priority=5)
    assert (high.status, high.notices) == (PlaceStatus.QUEUED, ())
    taken = await store.placements.place(place_request("offered", revision=3), now=NOW)
    assert (taken.status, taken.notices) == (PlaceStatus.PLACED, (room("offered", "high"),))
    assert await store.placements.asked_for_room() == (room("offered", "high"),)


async def test_the_present_priority_of_one_that_runs_counts(store: GamePipelineStore) -> None:
    await full(store, "runs")
    await store.pipelines.update("runs", PipelineChange(priority=5), now=NOW)
    assert (await submit(store, "high", priority=5)).notices == ()
    await store.pipelines.update("runs", PipelineChange(priority=4), now=NOW)
    again = await store.placements.place(place_request("high", revision=3), now=LATER)
    assert again.notices == (room("runs", "high"),)


async def test_one_that_waits_and_rises_asks_at_once(store: GamePipelineStore) -> None:
    await full(store, "low")
    await submit(store, "high")
    _, notices = await store.pipelines.update("high", PipelineChange(priority=5), now=NOW)
    assert notices == (room("low", "high"),)


async def test_one_that_runs_and_falls_below_others_is_asked_at_once(
    store: GamePipelineStore,
) -> None:
    await full(store, "runs")
    await store.pipelines.update("runs", PipelineChange(priority=5), now=NOW)
    await submit(store, "high", priority=5)
    _, notices = await store.pipelines.update("runs", PipelineChange(priority=4), now=NOW)
    assert notices == (room("runs", "high"),)


async def test_a_release_that_is_not_enough_asks_for_the_rest(store: GamePipelineStore) -> None:
    await full(store, "low", "firm")
    await store.pipelines.update("firm", PipelineChange(priority=9), now=NOW)
    assert (await submit(store, "high", priority=5, cpu=2.0)).notices == ()
    assert await leave(store, "firm", PipelineState.COMPLETED) == (room("low", "high"),)


async def test_a_newcomer_hears_of_those_that_are_to_make_room_for_others(
    store: GamePipelineStore,
) -> None:
    await full(store, "low", "firm")
    await store.pipelines.update("firm", PipelineChange(priority=9), now=NOW)
    await submit(store, "high", priority=5, cpu=2.0)
    await store.nodes.register(registration("n1", cpu=3), now=NOW)  # nobody is told of it
    newcomer = await submit(store, "new", LATER, priority=5, tenant="other")
    assert newcomer.notices == (room("low", "high"),)


async def test_many_at_once_in_several_processes_ask_each_one_once(
    store: GamePipelineStore, store_url: str
) -> None:
    names = [f"low-{number}" for number in range(8)]
    await full(store, *names)
    other = await GamePipelineStore.open(store_url)
    try:
        high = [f"high-{number}" for number in range(6)]
        for name in high:
            await store.pipelines.add(new(name, priority=5), now=NOW)
        answers = await asyncio.gather(
            *(
                (store, other)[number % 2].placements.place(place_request(name), now=LATER)
                for number, name in enumerate(high)
            )
        )
    finally:
        await other.close()
    asked = [one for answer in answers for one in answer.notices]
    assert len({one.pipeline_id for one in asked}) == len(asked) == 6
    assert {one.for_pipeline for one in asked} == set(high)
    offers = [offer for one in asked for offer in await leave(store, one.pipeline_id)]
    assert sorted(one.pipeline_id for one in offers) == high


async def test_one_that_is_placed_by_the_same_transaction_may_be_asked(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await store.pipelines.add(new("low", placement=PREEMPTIBLE), now=NOW)
    await store.pipelines.add(new("high", priority=5), now=NOW)
    low, high = await store._database.write(
        lambda tx: [place_all(tx, [(place_request(name), NOW)])[0] for name in ("low", "high")],
        placing=True,
    )
    assert (low.status, high.status) == (PlaceStatus.PLACED, PlaceStatus.QUEUED)
    assert high.notices == await store.placements.asked_for_room() == (room("low", "high"),)


async def test_one_that_has_moved_on_is_not_told_again(store: GamePipelineStore) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    request = save_request("low", 3, PipelineState.RUNNING, node_id="n1", release=True)
    await store.pipelines.save(replace(request, hold_for_node=True), now=LATER)
    assert (await come_back(store, "low", 4, generation=2)).status is PlaceStatus.QUEUED
    assert await store.placements.asked_for_room() == ()
    assert await store.placements.asked_for_room("high") == (room("low", "high"),)


async def test_a_fleet_may_do_without(store_url: str) -> None:
    store = await GamePipelineStore.open(store_url, order=OrderPolicy(preemption=False))
    try:
        await full(store, "low")
        assert (await submit(store, "high", priority=5)).notices == ()
        await store.placements.offer(now=LATER, telling=True)
        assert await store.placements.asked_for_room() == ()
    finally:
        await store.close()
