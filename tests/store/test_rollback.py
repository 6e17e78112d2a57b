"""What was rolled back was never there, and costs nobody else anything."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlmodel import Session

from gamepipe.model.errors import GamePipeError
from gamepipe.ports import NodeChange
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.holding import Holdings
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.order import Waiting
from gamepipe.scheduling.policy import Capacity
from gamepipe.wire import PlaceAnswer, PlaceStatus
from store import capacity, placing, serving
from store.fleet import load_fleet
from store.store import GamePipelineStore
from store.table import AllocationRow, NodeRow
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.placing import check, place
from tests.store.shapes import new, place_request, registration


def allocate(tx: Transaction, name: str) -> None:
    """An offer for a pipeline."""
    row = tx.lock_pipeline(name)
    assert row is not None
    chooser, need = tx.fleet(NOW).chooser, need_of(row.spec, row.args)
    choice = chooser.find(need)
    assert choice is not None
    waiting = Waiting(pipeline_id=name, queued_at=NOW)
    serving.allocate(tx, row, waiting, need, choice, now=NOW, chooser=chooser)


async def test_what_was_rolled_back_was_never_there(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await store.pipelines.add(new("p1"), now=NOW)

    def fail(tx: Transaction) -> None:
        allocate(tx, "p1")
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
        allocate(tx, "p3")
        held = tx.fleet(NOW).chooser.snapshot.fleet.held
        assert {key[0] for key in held} == {"p3", "p4"}
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

    def fail(tx: Transaction) -> None:
        allocate(tx, "p1")
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
