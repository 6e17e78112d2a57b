"""A run that was reset goes on only where it has a place, and waits for nothing but its own."""

from dataclasses import replace
from typing import Any

import pytest

from gamepipe.model.state import NodeState, PipelineState
from gamepipe.ports import NodeChange, Notice
from gamepipe.wire import PlaceStatus, SaveAck, SaveStatus, WithdrawRequest
from store.store import GamePipelineStore
from store.table import AllocationRow
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.preempting import LATER, PREEMPTIBLE, come_back, full, leave, submit
from tests.store.shapes import LIFE, place_request, registration, save_request, step


async def preempted(store: GamePipelineStore) -> None:
    """`low` made room for `high`, and waits in its second generation."""
    await full(store, "low")
    await submit(store, "high", priority=5)
    await leave(store, "low")
    assert (await come_back(store, "low", 4, generation=2)).status is PlaceStatus.QUEUED


async def reset(store: GamePipelineStore, **changes: Any) -> tuple[SaveAck, tuple[Notice, ...]]:
    """Somebody resets `low` to a point at which it ran in its first generation."""
    await store.pipelines.take_over("low", run_id="run-2", now=LATER)
    request = save_request("low", 9, PipelineState.RUNNING, node_id="n1", run_id="run-2")
    steps = (step(0), step(1))
    whole = replace(replace(request, complete=True, steps=steps), **changes)
    return await store.pipelines.save(whole, now=LATER)


async def live(store: GamePipelineStore) -> list[tuple[str, int]]:
    found = await store.placements.live_allocations()
    return sorted((one.pipeline_id, one.generation) for one in found)


async def test_whose_place_was_given_to_others_fails(store: GamePipelineStore) -> None:
    await preempted(store)
    taken = await store.placements.place(place_request("high", revision=3), now=LATER)
    assert taken.status is PlaceStatus.PLACED
    ack, notices = await reset(store)
    assert (ack.status, ack.state, notices) == (SaveStatus.CLOSED, PipelineState.FAILED, ())
    record = await store.pipelines.get("low")
    assert (record.state, record.reason) == (PipelineState.FAILED, "WORKFLOW_LOST")
    assert "it ran on node n1 (generation 1), and its place there is not free" in record.message
    assert await live(store) == [("high", 1)]
    assert await store.placements.queue() == ()
    (order,) = await store.nodes.stop_orders("n1")
    assert (order.pipeline_id, order.generation) == ("low", 1)
    assert (await reset(store))[0].status is SaveStatus.CLOSED
    assert await store.placements.release("high", 1, now=LATER) == ()
    assert await store.placements.reconcile(now=LATER) == ()


@pytest.mark.parametrize("second", ["waits", "is offered the node"])
async def test_one_whose_place_is_free_holds_it_again(
    store: GamePipelineStore, second: str
) -> None:
    await preempted(store)
    if second == "is offered the node":
        gone = WithdrawRequest(pipeline_id="high", incarnation=LIFE, generation=1)
        await store.placements.withdraw(gone, now=LATER)
        assert await live(store) == [("low", 2)]
    else:
        await store.nodes.register(registration("n1", cpu=2), now=LATER)
    ack, _ = await reset(store)
    assert ack.status is SaveStatus.SAVED
    record = await store.pipelines.get("low")
    assert (record.state, record.generation) == (PipelineState.RUNNING, 1)
    assert await store.placements.queue() == ()
    held = [one for one in await live(store) if one[0] == "low"]
    assert held == [("low", 1)]
    assert (await submit(store, "late", LATER)).status is PlaceStatus.QUEUED


async def test_one_whose_device_is_in_use_fails_though_another_is_free(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", gpus=2), now=NOW)
    await submit(store, "low", gpus=1, placement=PREEMPTIBLE)
    await leave(store, "low")
    await submit(store, "other", gpus=1)
    assert (await reset(store))[0].status is SaveStatus.CLOSED


async def test_one_whose_node_was_disabled_fails(store: GamePipelineStore) -> None:
    await full(store, "low")
    await leave(store, "low")
    await store.nodes.update("n1", NodeChange(state=NodeState.DISABLED), now=LATER)
    assert (await reset(store))[0].status is SaveStatus.CLOSED


async def test_one_that_asks_anew_waits_in_that_generation_only(
    store: GamePipelineStore,
) -> None:
    await preempted(store)
    ack, _ = await reset(store, state=PipelineState.PENDING, node_id="")
    assert ack.status is SaveStatus.SAVED
    assert await store.placements.queue() == ()


async def test_an_offer_above_the_generation_of_its_row_goes_to_who_waits(
    store: GamePipelineStore,
) -> None:
    await full(store, "low")
    await submit(store, "waits")

    def fault(tx: Transaction) -> None:
        held = tx.session.get_one(AllocationRow, ("low", 1))
        held.generation, held.taken_at = 2, None

    await store._database.write(fault, placing=True)
    assert await store.placements.reconcile(now=LATER) == (("low", 2),)
    assert await live(store) == [("waits", 1)]
