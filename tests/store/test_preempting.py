"""Who is asked to make room, once; and to whom goes what they leave."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gamepipe.model.record import Instance
from gamepipe.model.spec import PlacementRequest
from gamepipe.model.state import InstanceState, PipelineState
from gamepipe.ports import Notice, OfferMade, PipelineChange
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.wire import PlaceAnswer, PlaceStatus, RoomAsked, WithdrawRequest
from store.placing import place_all
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import LIFE, new, place_request, registration, save_request

PREEMPTIBLE = PlacementRequest(preemptible=True)
LATER = NOW + timedelta(minutes=1)


async def submit(store: GamePipelineStore, name: str, at: Any = NOW, **spec: Any) -> PlaceAnswer:
    await store.pipelines.add(new(name, **spec), now=at)
    return await store.placements.place(place_request(name), now=at)


async def full(store: GamePipelineStore, *names: str) -> None:
    """A node with a core for each of these, which run there and may be preempted."""
    await store.nodes.register(registration("n1", cpu=len(names)), now=NOW)
    for number, name in enumerate(names):
        answer = await submit(store, name, NOW + timedelta(seconds=number), placement=PREEMPTIBLE)
        assert answer.status is PlaceStatus.PLACED


async def leave(
    store: GamePipelineStore,
    name: str,
    state: PipelineState = PipelineState.RUNNING,
    revision: int = 3,
) -> tuple[Notice, ...]:
    """It gives its place back, and will wait in another generation unless it ended."""
    request = save_request(name, revision, state, node_id="n1", release=True)
    _, notices = await store.pipelines.save(request, now=LATER)
    return notices


async def come_back(
    store: GamePipelineStore, name: str, revision: int, *, generation: int
) -> PlaceAnswer:
    """It asks for its next placement."""
    plain = place_request(name, revision=revision)
    request = replace(
        plain,
        generation=generation,
        saved=replace(plain.saved, generation=generation),
        placed=replace(plain.placed, generation=generation),
    )
    return await store.placements.place(request, now=LATER)


def room(name: str, for_pipeline: str) -> RoomAsked:
    return RoomAsked(pipeline_id=name, generation=1, node_id="n1", for_pipeline=for_pipeline)


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


async def test_one_that_is_withdrawn_leaves_at_once_what_others_left_for_it(
    store: GamePipelineStore,
) -> None:
    await full(store, "a", "b")
    await submit(store, "high", priority=5, cpu=2.0)
    await submit(store, "small", LATER)
    assert await leave(store, "a") == ()
    assert await store.placements.withdraw(withdrawal("high"), now=LATER) == (
        OfferMade(pipeline_id="small", generation=1, node_id="n1"),
    )
    assert await store.placements.asked_for_room("high") == ()


@pytest.mark.parametrize("how", ["deleted", "told to be lost", "ended by its workflow"])
async def test_so_does_one_that_goes_otherwise(store: GamePipelineStore, how: str) -> None:
    await full(store, "a", "b")
    await submit(store, "high", priority=5, cpu=2.0)
    await submit(store, "small", LATER)
    await leave(store, "a")
    notices: tuple[Notice, ...]
    if how == "deleted":
        notices = await store.pipelines.delete("high", force=True, now=LATER)
    elif how == "told to be lost":
        _, notices = await store.pipelines.update_status(
            "high", PipelineState.FAILED, reason="WORKFLOW_LOST", message="", now=LATER
        )
    else:
        over = save_request("high", 3, PipelineState.CANCELED, release=True)
        _, notices = await store.pipelines.save(over, now=LATER)
    assert notices == (OfferMade(pipeline_id="small", generation=1, node_id="n1"),)


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


def withdrawal(name: str) -> WithdrawRequest:
    return WithdrawRequest(pipeline_id=name, incarnation=LIFE, generation=1)


async def test_one_that_ends_by_itself_first_makes_the_room_too(store: GamePipelineStore) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    (offer,) = await leave(store, "low", state=PipelineState.COMPLETED)
    assert offer.pipeline_id == "high"
    (generation,) = await store.pipelines.generations("low")
    assert generation.preempted_for == ""


async def test_what_was_left_for_one_that_is_gone_goes_to_who_is_next(
    store: GamePipelineStore,
) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    await submit(store, "next", LATER, priority=1)
    stops = save_request("low", 3, PipelineState.RUNNING, node_id="n1", reason="PREEMPTED")
    await store.pipelines.save(stops, now=LATER)
    assert await store.placements.withdraw(withdrawal("high"), now=LATER) == ()
    assert await store.placements.asked_for_room("high") == (room("low", "high"),)
    assert await store.placements.asked_for_room() == ()
    (offer,) = await leave(store, "low", revision=4)
    assert offer.pipeline_id == "next"
    assert (await come_back(store, "low", 5, generation=2)).status is PlaceStatus.QUEUED


@pytest.mark.parametrize("how", ["withdrawn", "deleted", "lowered", "overtaken by it"])
async def test_whoever_is_needed_no_more_stays(store: GamePipelineStore, how: str) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    if how == "withdrawn":
        await store.placements.withdraw(withdrawal("high"), now=LATER)
    elif how == "deleted":
        await store.pipelines.delete("high", force=True, now=LATER)
    elif how == "lowered":
        await store.pipelines.update("high", PipelineChange(priority=0), now=LATER)
    else:
        await store.pipelines.update("low", PipelineChange(priority=5), now=LATER)
    assert await store.placements.asked_for_room("high") == ()
    (held,) = await store.placements.live_allocations()
    assert (held.preempted_for, held.preemptible) == ("", True)
    higher = await submit(store, "higher", LATER, priority=6)
    assert higher.notices == (room("low", "higher"),)


async def test_one_that_had_heard_of_it_leaves_nevertheless_and_keeps_its_old_place(
    store: GamePipelineStore,
) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    await submit(store, "between", NOW + timedelta(seconds=30))
    await store.pipelines.update("high", PipelineChange(priority=0), now=LATER)
    assert await store.placements.asked_for_room() == ()
    (offer,) = await leave(store, "low")
    assert offer.pipeline_id == "high"
    assert (await come_back(store, "low", 4, generation=2)).status is PlaceStatus.QUEUED
    assert [one.pipeline_id for one in await store.placements.queue()] == ["low", "between"]


async def test_one_that_did_not_leave_stays_once_there_is_room_elsewhere(
    store: GamePipelineStore,
) -> None:
    await full(store, "low")
    await submit(store, "high", priority=5)
    await store.nodes.register(registration("n2", cpu=1), now=LATER)
    (offer,) = await store.placements.offer(now=LATER)
    assert (offer.pipeline_id, offer.node_id) == ("high", "n2")
    assert await store.placements.asked_for_room() == ()
    assert (await submit(store, "higher", LATER, priority=6)).notices == (room("low", "higher"),)


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


def instance(name: str) -> Instance:
    return Instance(
        id=f"{name}.g1.s1",
        pipeline_id=name,
        generation=1,
        step_index=1,
        step_name="game",
        attempt=1,
        node_id="n1",
        started_at=NOW,
    )


async def come_up(store: GamePipelineStore, name: str, revision: int = 3) -> tuple[Notice, ...]:
    request = save_request(
        name, revision, PipelineState.RUNNING, node_id="n1", instances=(instance(name),)
    )
    _, notices = await store.pipelines.save(request, now=NOW)
    return notices


async def test_an_instance_in_use_is_never_asked(store: GamePipelineStore) -> None:
    await full(store, "game")
    await come_up(store, "game")
    assert (await submit(store, "high", priority=5)).notices == ()
    ended = save_request("game", 4, PipelineState.COMPLETED, node_id="n1", release=True)
    await store.pipelines.save(ended, now=NOW)
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == ()


async def test_one_whose_service_comes_up_meanwhile_stays_and_another_is_asked(
    store: GamePipelineStore,
) -> None:
    await full(store, "work", "game")
    high = await submit(store, "high", priority=5)
    assert high.notices == (room("game", "high"),)
    assert await come_up(store, "game") == (room("work", "high"),)
    assert await store.placements.asked_for_room() == (room("work", "high"),)
    await store.instances.observe("game.g1.s1", InstanceState.EXITED, now=NOW)
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == (room("work", "high"),)


async def test_a_game_that_came_up_as_its_pipeline_was_to_make_room_stays(
    store: GamePipelineStore,
) -> None:
    await full(store, "game")
    await submit(store, "high", priority=5)
    request = save_request("game", 3, PipelineState.RUNNING, node_id="n1", reason="PREEMPTED")
    await store.pipelines.save(replace(request, instances=(instance("game"),)), now=NOW)
    assert await store.placements.asked_for_room() != ()
    assert await leave(store, "game", PipelineState.COMPLETED, revision=4) == ()
    await store.placements.offer(now=NOW, telling=True)
    assert await store.placements.asked_for_room() == ()


async def test_another_is_asked_at_once_instead_of_a_game_that_stays_behind_its_pipelines_end(
    store: GamePipelineStore,
) -> None:
    await full(store, "work", "game")
    assert (await submit(store, "high", priority=5)).notices == (room("game", "high"),)
    request = save_request("game", 3, PipelineState.RUNNING, node_id="n1", reason="PREEMPTED")
    await store.pipelines.save(replace(request, instances=(instance("game"),)), now=NOW)
    told = await leave(store, "game", PipelineState.COMPLETED, revision=4)
    assert told == (room("work", "high"),)


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
        lambda tx: place_all(tx, [(place_request(name), NOW) for name in ("low", "high")]),
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
