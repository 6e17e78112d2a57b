"""The fleet in memory is what the database says, whoever changed it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from gamepipe.model.node import Location, NodeMetrics
from gamepipe.model.state import Connectivity, NodeState, PipelineState
from gamepipe.ports import NodeChange
from gamepipe.wire import PlaceStatus, WithdrawRequest
from store.fleet import FleetCache
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.placing import check, check_asked, place
from tests.store.shapes import LIFE, new, place_request, registration, save_request

Check = Callable[[GamePipelineStore], Awaitable[None]]


@pytest.mark.parametrize("check", [check, check_asked])
async def test_it_follows_all_that_two_processes_do(
    store: GamePipelineStore, other: GamePipelineStore, check: Check
) -> None:
    for name in ("n1", "n2"):
        await store.nodes.register(registration(name, cpu=2, gpus=1), now=NOW)
    await check(store)
    await check(other)
    assert await place(store, "p1", gpus=1) is PlaceStatus.PLACED
    assert await place(other, "p2", gpus=1) is PlaceStatus.PLACED
    assert await place(other, "p3", gpus=1) is PlaceStatus.QUEUED
    await check(store)
    await check(other)
    await store.nodes.register(registration("n0", gpus=1), now=NOW)
    await other.placements.offer(now=NOW)
    await check(store)
    await store.placements.withdraw(
        WithdrawRequest(pipeline_id="p3", incarnation=LIFE, generation=1), now=NOW
    )
    await check(other)
    await other.nodes.update("n1", NodeChange(state=NodeState.MAINTENANCE), now=NOW)
    await store.nodes.update("n2", NodeChange(labels={"disk": "ssd"}), now=NOW)
    await other.nodes.mark("n2", Connectivity.LOST, now=NOW)
    await check(store)
    await check(other)
    end = save_request(
        "p1", 3, PipelineState.FAILED, release=True, hold_for_node=True, node_id="n1"
    )
    await store.pipelines.save(end, now=NOW)
    await check(other)
    await other.pipelines.delete("p2", force=True, now=NOW)
    await check(store)
    await check(other)
    await other.close()


async def test_an_offer_that_is_withdrawn_is_forgotten(
    store: GamePipelineStore, other: GamePipelineStore
) -> None:
    assert await place(store, "p1") is PlaceStatus.QUEUED
    await store.nodes.register(registration("n1"), now=NOW)
    await store.placements.offer(now=NOW)
    await check(other)
    await store.nodes.update("n1", NodeChange(state=NodeState.MAINTENANCE), now=NOW)
    await check(other)
    await check(store)
    await other.close()


async def test_measured_load_is_read_again_after_a_while(store: GamePipelineStore) -> None:
    session = (await store.nodes.register(registration("n1"), now=NOW)).session
    await check(store)
    await store.nodes.heartbeat([("n1", session, NodeMetrics(cpu_share=0.75))], now=NOW)

    def load_at(later: timedelta) -> object:
        return lambda tx: float(tx.fleet(NOW + later).chooser.snapshot.fleet.load[0])

    database = store._database
    assert await database.write(load_at(timedelta(seconds=1)), placing=True) == 0  # type: ignore[arg-type]
    assert await database.write(load_at(timedelta(minutes=1)), placing=True) == 0.75  # type: ignore[arg-type]


async def test_a_node_that_failed_of_late_comes_after_one_that_did_not(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await place(store, "p1")
    failed = save_request("p1", 3, PipelineState.FAILED, node_id="n1", ended_at=NOW, release=True)
    await store.pipelines.save(failed, now=NOW)
    await store.nodes.register(registration("n2", location=Location(region="eu")), now=NOW)
    later = NOW + timedelta(minutes=1)
    await store.pipelines.add(new("p2"), now=later)
    answer = await store.placements.place(place_request("p2"), now=later)
    assert answer.placement is not None
    assert answer.placement.node_id == "n2"


def test_the_number_of_a_transaction_that_looked_early_is_read_again() -> None:
    cache = FleetCache.__new__(FleetCache)
    cache._known = 7
    cache.settle(7)
    assert cache._known == 6
    cache.settle(None)
    assert cache._known == 6


def test_the_number_of_a_transaction_that_told_the_fleet_all_is_known() -> None:
    cache = FleetCache.__new__(FleetCache)
    cache._known = 7
    cache.settle(9, told=True)
    assert cache._known == 9


async def test_a_fleet_that_held_what_it_placed_reads_nothing_again(
    store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    assert await place(store, "p1") is PlaceStatus.PLACED

    def fail(*_: object) -> None:
        raise AssertionError("the fleet was read again")

    monkeypatch.setattr(FleetCache, "_catch_up", fail)
    assert await place(store, "p2") is PlaceStatus.PLACED
    monkeypatch.undo()
    await check(store)


async def test_a_pipeline_that_is_removed_while_its_node_holds_it_leaves_the_fleet(
    store: GamePipelineStore, other: GamePipelineStore
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await place(store, "p1")
    await check(other)
    end = save_request(
        "p1", 3, PipelineState.FAILED, release=True, hold_for_node=True, node_id="n1", ended_at=NOW
    )
    await store.pipelines.save(end, now=NOW)
    later = NOW + timedelta(hours=1)
    assert await other.pipelines.cleanup(ended_before=later, limit=10, now=later) == 1
    await check(store)
    await check(other)
    await other.close()
