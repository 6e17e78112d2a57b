"""Whoever asked waits no more: what was left for it is free, and who was to leave may stay."""

from datetime import timedelta

import pytest

from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice, OfferMade, PipelineChange
from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.preempting import LATER, come_back, full, leave, room, submit, withdrawal
from tests.store.shapes import registration, save_request


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
