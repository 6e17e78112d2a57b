"""Who only asks sees the fleet of its process, which follows; nothing of what it tries stays."""

import asyncio

import pytest
from sqlmodel import Session

from gamepipe.scheduling.choose import Chooser
from store.fleet import FleetCache
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.placing import check_asked, place
from tests.store.shapes import registration, spec


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each fleet that is read whole."""
    found: list[int] = []
    real = FleetCache._load

    def load(cache: FleetCache, session: Session) -> None:
        found.append(1)
        real(cache, session)

    monkeypatch.setattr(FleetCache, "_load", load)
    return found


async def test_the_fleet_is_read_whole_once_however_many_ask(
    store: GamePipelineStore, other: GamePipelineStore, loads: list[int]
) -> None:
    for name in ("n1", "n3"):
        await store.nodes.register(registration(name, cpu=4), now=NOW)
    await store.placements.forecast(spec(), {}, now=NOW)
    loads.clear()
    await other.nodes.register(registration("n2", cpu=4), now=NOW)
    await place(other, "p1", cpu=4.0)
    loads.clear()
    found = await store.placements.forecast(spec(), {}, now=NOW, count=10)
    assert (found.nodes, found.fitting) == (3, 8)
    await check_asked(store)
    assert loads == []
    await other.close()


async def test_nothing_stays_of_what_somebody_asked(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=4), now=NOW)
    asked = (store.placements.forecast(spec(), {}, now=NOW, count=3) for _ in range(20))
    found = await asyncio.gather(*asked)
    assert {one.fitting for one in found} == {3}
    await check_asked(store)


async def test_whoever_asks_behind_one_that_failed_sees_the_fleet_as_it_is(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=4), now=NOW)
    await place(store, "p1")

    def fail(_: Session, chooser: Chooser) -> None:
        chooser.snapshot.fleet.free("p1", 1)
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await store._database.ask(fail, now=NOW)
    await check_asked(store)


async def test_one_that_asks_and_goes_away_disturbs_nobody(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=4), now=NOW)
    gone = asyncio.ensure_future(store.placements.forecast(spec(), {}, now=NOW, count=3))
    await asyncio.sleep(0)  # it is under way
    gone.cancel()
    found = await store.placements.forecast(spec(), {}, now=NOW, count=10)
    assert found.fitting == 4
