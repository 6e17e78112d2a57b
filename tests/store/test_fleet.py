"""The fleet in memory is what the database says, whoever changed it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlmodel import Session

from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import Location, NodeMetrics
from gamepipe.model.state import Connectivity, NodeState, PipelineState
from gamepipe.ports import NodeChange
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.holding import Holdings
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.policy import Capacity
from gamepipe.wire import PlaceAnswer, PlaceStatus, WithdrawRequest
from store import capacity, placing, serving
from store.fleet import FleetCache, load_fleet
from store.store import GamePipelineStore
from store.table import AllocationRow, NodeRow
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.shapes import LIFE, new, place_request, registration, save_request


async def place(store: GamePipelineStore, pipeline_id: str, **shape: object) -> PlaceStatus:
    await store.pipelines.add(new(pipeline_id, **shape), now=NOW)
    return (await store.placements.place(place_request(pipeline_id), now=NOW)).status


async def check(store: GamePipelineStore) -> None:
    """The cached fleet against one that is read whole."""

    def compare(tx: Transaction) -> None:
        cached = tx.fleet(NOW).chooser.snapshot.fleet
        fresh = load_fleet(tx.session, Capacity())
        assert _picture(cached) == _picture(fresh)

    await store._database.write(compare, placing=True)


def _picture(fleet: Fleet) -> object:
    return (
        [
            (node.id, node.state, node.connectivity, node.labels, node.stop_orders)
            for node in fleet.nodes
        ],
        fleet.held,
        fleet.used.tolist(),
        fleet.devices.used.tolist(),
        fleet.devices.whole.tolist(),
        fleet.ports,
        fleet.groups,
    )


@pytest.fixture
async def other(store: GamePipelineStore) -> GamePipelineStore:
    """Another process on the same database."""
    return await GamePipelineStore.open(store._database.url.render_as_string(hide_password=False))


async def test_it_follows_all_that_two_processes_do(
    store: GamePipelineStore, other: GamePipelineStore
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


async def test_what_was_rolled_back_was_never_there(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await store.pipelines.add(new("p1"), now=NOW)

    def fail(tx: Transaction) -> None:
        row = tx.lock_pipeline("p1")
        assert row is not None
        chooser = tx.fleet(NOW).chooser
        need = need_of(row.spec, row.args)
        choice = chooser.find(need)
        assert choice is not None
        serving.allocate(tx, row, 1, need, choice, now=NOW, chooser=chooser)
        raise GamePipeError("on purpose")

    with pytest.raises(GamePipeError):
        await store._database.write(fail, placing=True)
    await check(store)
    assert (await store.placements.place(place_request("p1"), now=NOW)).status is PlaceStatus.PLACED


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for every time that the whole fleet is read."""
    found: list[int] = []

    def load(session: Session, capacity: Capacity) -> Fleet:
        found.append(len(found))
        return load_fleet(session, capacity)

    monkeypatch.setattr("store.fleet.load_fleet", load)
    return found


async def test_a_rollback_undoes_what_was_changed_and_reads_nothing_else(
    store: GamePipelineStore, other: GamePipelineStore, loads: list[int]
) -> None:
    for name in ("n1", "n2"):
        await store.nodes.register(registration(name, cpu=4, gpus=1), now=NOW)
    await place(store, "p1", gpus=1)
    await place(store, "p2", cpu=1.0)
    await store.pipelines.add(new("p3"), now=NOW)
    loads.clear()
    await other.nodes.update("n2", NodeChange(labels={"disk": "ssd"}), now=NOW)
    await place(other, "p4")

    def fail(tx: Transaction) -> None:
        capacity.release(tx, "p1", 1, now=NOW)
        node = tx.session.get_one(NodeRow, "n1")
        node.labels = {"disk": "gone"}
        tx.session.delete(tx.session.get_one(AllocationRow, ("p2", 1)))
        row = tx.lock_pipeline("p3")
        assert row is not None
        chooser, need = tx.fleet(NOW).chooser, need_of(row.spec, row.args)
        choice = chooser.find(need)
        assert choice is not None
        serving.allocate(tx, row, 1, need, choice, now=NOW, chooser=chooser)
        assert {key[0] for key in chooser.snapshot.fleet.held} == {"p3", "p4"}
        raise ValueError("on purpose")

    loads.clear()
    with pytest.raises(ValueError, match="on purpose"):
        await store._database.write(fail, placing=True)
    await check(store)
    assert loads == []
    await place(other, "p5")
    await check(store)
    assert loads == []
    await other.close()


async def test_a_fleet_that_was_read_by_what_was_rolled_back_is_kept(
    store: GamePipelineStore, loads: list[int]
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p1"), now=NOW)
    real = serving.allocate

    def fail(tx: Transaction) -> None:
        row = tx.lock_pipeline("p1")
        assert row is not None
        chooser, need = tx.fleet(NOW).chooser, need_of(row.spec, row.args)
        choice = chooser.find(need)
        assert choice is not None
        real(tx, row, 1, need, choice, now=NOW, chooser=chooser)
        raise ValueError("on purpose")

    for _ in range(3):
        with pytest.raises(ValueError, match="on purpose"):
            await store._database.write(fail, placing=True)
    await check(store)
    assert len(loads) == 1


async def test_a_change_that_broke_off_in_its_middle_is_read_again(
    store: GamePipelineStore, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await check(store)
    await store.pipelines.add(new("p1"), now=NOW)
    loads.clear()
    with monkeypatch.context() as broken:
        broken.setattr(Holdings, "take", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await store.placements.place(place_request("p1"), now=NOW)
    await check(store)
    assert len(loads) == 1


async def test_one_that_cannot_be_placed_goes_apart_from_the_others(
    store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.nodes.register(registration("n1", cpu=64), now=NOW)
    names = [f"p{number}" for number in range(8)]
    for name in names:
        await store.pipelines.add(new(name, cpu=1.0), now=NOW)
    groups: list[list[str]] = []
    real = placing.place_all

    def place_all(tx: Transaction, asked: Sequence[placing.Asked]) -> Sequence[PlaceAnswer]:
        groups.append([request.pipeline_id for request, _ in asked])
        if "p3" in groups[-1]:
            raise ValueError("cannot be read")
        return real(tx, asked)

    monkeypatch.setattr("store.placement.place_all", place_all)

    async def ask(*some: str) -> list[PlaceAnswer | BaseException]:
        asked = (store.placements.place(place_request(name), now=NOW) for name in some)
        return await asyncio.gather(*asked, return_exceptions=True)

    await ask("p0", "p3")
    groups.clear()
    found = await ask(*names)
    assert groups == [[name for name in names if name != "p3"], ["p3"]]
    assert [isinstance(one, ValueError) for one in found] == [name == "p3" for name in names]
    await check(store)


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
