"""Probes: what is kept of them, what they say of other ways, and what placement makes of it."""

import asyncio
from datetime import timedelta

import pytest

from gamepipe.model import latency as ends
from gamepipe.model.errors import NotFound
from gamepipe.model.latency import Endpoint, Estimate, Probe, Region
from gamepipe.model.node import Location
from gamepipe.model.spec import PlacementRequest
from gamepipe.ports import NodeChange
from gamepipe.scheduling.probe import FORGOTTEN, KEPT
from gamepipe.wire import PlaceStatus
from store import latency as stored
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import registration
from tests.store.test_placement import node_of, place

FRANKFURT = Location(region="de", zone="fra", latitude=50.1, longitude=8.7)
VIRGINIA = Location(region="us", zone="iad", latitude=39.0, longitude=-77.5)
STOCKHOLM = Region(name="se", latitude=59.3, longitude=18.1)
DAY = timedelta(days=1)


def probe(
    node_id: str, rtt_ms: float, source: Endpoint | None = None, *, ago: timedelta = timedelta()
) -> Probe:
    return Probe(source=source or ends.region("se"), node_id=node_id, rtt_ms=rtt_ms, at=NOW - ago)


def probes(node_id: str, rtt_ms: float, count: int = 5) -> list[Probe]:
    return [probe(node_id, rtt_ms, ago=timedelta(minutes=n)) for n in range(count)]


async def fleet(store: GamePipelineStore, **where: Location) -> None:
    for name, location in where.items():
        await store.nodes.register(registration(name, location=location), now=NOW)


async def estimate(store: GamePipelineStore, node_id: str, region: str = "se") -> Estimate:
    found = await store.latencies.estimates(node_id, now=NOW)
    (one,) = (one for one in found if one.source == ends.region(region))
    return one


async def test_probes_of_one_way_come_to_one_figure(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT)
    for rtt_ms in (30, 31, 900, 29, 30):
        (way,) = await store.latencies.report([probe("n1", rtt_ms)], now=NOW)
    assert (way.source, way.node_id) == (ends.region("se"), "n1")
    assert way.measured.samples == 5
    assert 29 <= way.measured.rtt_ms <= 31
    assert await store.latencies.ways("n1") == (way,)


async def test_reports_that_come_at_once_all_count(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT, n2=FRANKFURT)
    reports = [
        [probe(node_id, 30, ends.region(region)) for node_id in order for region in "ab"]
        for order in (("n1", "n2"), ("n2", "n1")) * 4
    ]
    await asyncio.gather(*(store.latencies.report(report, now=NOW) for report in reports))
    ways = [*await store.latencies.ways("n1"), *await store.latencies.ways("n2")]
    assert [way.measured.samples for way in ways] == [8, 8, 8, 8]


async def test_the_table_does_not_grow_with_probes(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT)
    many = [probe("n1", 30, ago=timedelta(minutes=n)) for n in range(200)]
    await store.latencies.report(many, now=NOW)
    (way,) = await store.latencies.report([probe("n1", 30)], now=NOW)
    assert way.measured.samples == 201
    assert way.measured.weight <= KEPT


async def test_a_node_keeps_the_sources_that_told_last(
    store: GamePipelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "SOURCES_OF_A_NODE", 2)
    await fleet(store, n1=FRANKFURT, n2=FRANKFURT)
    for hours, region in ((3, "a"), (1, "b"), (2, "c")):
        told = probe("n1", 30, ends.region(region), ago=timedelta(hours=hours))
        await store.latencies.report([told], now=NOW)
    await store.latencies.report([probe("n2", 30, ends.region("a"))], now=NOW)
    assert [way.source.name for way in await store.latencies.ways("n1")] == ["b", "c"]
    assert [way.source.name for way in await store.latencies.ways("n2")] == ["a"]


async def test_probes_of_nodes_that_are_not_there_add_nothing(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT)
    for strange in (probe("ghost", 30), probe("n1", 30, ends.node("ghost"))):
        with pytest.raises(NotFound, match="ghost"):
            await store.latencies.report([probe("n1", 30), strange], now=NOW)
    with pytest.raises(NotFound, match="ghost"):
        await store.latencies.estimates("ghost", now=NOW)
    assert await store.latencies.ways("n1") == ()


async def test_forgotten_probes_are_removed(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT)
    for region, ago in (("a", FORGOTTEN - DAY), ("b", DAY), ("c", DAY)):
        await store.latencies.report([probe("n1", 30, ends.region(region), ago=ago)], now=NOW)
    later = NOW + 2 * DAY
    assert await store.latencies.cleanup(limit=10, now=later) == 1
    assert await store.latencies.cleanup(limit=10, now=later) == 0
    assert [way.source.name for way in await store.latencies.ways("n1")] == ["b", "c"]
    assert await store.latencies.cleanup(limit=1, now=NOW + 2 * FORGOTTEN) == 1


async def test_a_region_is_where_people_say_else_amid_its_nodes(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT, n2=Location(region="de", latitude=52.5, longitude=13.4))
    (found,) = await store.latencies.regions()
    assert (found.name, found.updated_at) == ("de", None)
    assert 50.1 < found.latitude < 52.5
    assert 8.7 < found.longitude < 13.4
    said = await store.latencies.put_region(
        Region(name="de", latitude=48.1, longitude=11.6), now=NOW
    )
    assert await store.latencies.regions() == (said,)
    assert said.updated_at == NOW
    moved = await store.latencies.put_region(
        Region(name="de", latitude=53.6, longitude=10.0), now=NOW
    )
    assert await store.latencies.regions() == (moved,)
    await store.latencies.remove_region("de")
    assert await store.latencies.regions() == (found,)
    with pytest.raises(NotFound):
        await store.latencies.remove_region("de")


async def test_an_estimate_says_how_it_is_known(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT, n2=FRANKFURT, n3=Location())
    await store.latencies.put_region(STOCKHOLM, now=NOW)
    assert (await estimate(store, "n1")).how == "distance"
    await store.latencies.report(probes("n1", 80), now=NOW)
    measured = await estimate(store, "n1")
    assert measured.how == "measured"
    assert measured.ms == pytest.approx(80, abs=4)
    assert measured.measured is not None
    assert measured.measured.rtt_ms == 80
    before = await estimate(store, "n2")
    assert await store.latencies.settle(now=NOW)
    predicted = await estimate(store, "n2")
    assert (before.how, predicted.how) == ("distance", "predicted")
    assert before.ms is not None
    assert predicted.ms is not None
    assert before.ms < 40 < predicted.ms
    assert (await estimate(store, "n3")).ms is None


async def test_estimates_name_what_nodes_measured_of_each_other(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT, n2=VIRGINIA)
    await store.latencies.report([probe("n1", 92, ends.node("n2"))], now=NOW)
    found = await store.latencies.estimates("n1", now=NOW)
    assert [one.source for one in found] == [ends.region("de"), ends.region("us"), ends.node("n2")]
    assert (found[-1].ms, found[-1].how) == (92, "measured")


async def test_predictions_are_worked_out_anew_when_there_is_something_new(
    store: GamePipelineStore,
) -> None:
    await fleet(store, n1=FRANKFURT)
    assert not await store.latencies.settle(now=NOW)
    await store.latencies.report(probes("n1", 30), now=NOW)
    assert await store.latencies.settle(now=NOW)
    soon, later = NOW + timedelta(seconds=5), NOW + timedelta(minutes=1)
    await store.latencies.report(probes("n1", 30), now=soon)
    assert not await store.latencies.settle(now=soon)
    assert await store.latencies.settle(now=later)
    assert not await store.latencies.settle(now=later + timedelta(minutes=5))
    assert await store.latencies.settle(now=later + timedelta(hours=2))


def to_sweden(limit: float | None = None) -> dict[str, object]:
    return {"placement": PlacementRequest(player_region="se", max_latency_ms=limit)}


async def test_a_pipeline_goes_to_the_node_that_is_nearest_by_measure(
    store: GamePipelineStore,
) -> None:
    """By distance it would be `near`; a detour leads there."""
    await fleet(store, near=FRANKFURT, measured=VIRGINIA)
    await store.latencies.put_region(STOCKHOLM, now=NOW)
    assert node_of(await place(store, "p1", **to_sweden())) == "near"
    told = probes("near", 160) + probes("measured", 96)
    await store.latencies.report(told, now=NOW)
    assert node_of(await place(store, "p2", **to_sweden())) == "measured"


async def test_probes_of_another_process_are_seen_within_seconds(
    store: GamePipelineStore, store_url: str
) -> None:
    await fleet(store, n1=FRANKFURT, n2=FRANKFURT)
    assert (await place(store, "p1", **to_sweden(40))).status is PlaceStatus.QUEUED
    other = await GamePipelineStore.open(store_url)
    await other.latencies.report(probes("n2", 20), now=NOW)
    await other.close()
    (offer,) = await store.placements.offer(now=NOW + timedelta(seconds=3))
    assert (offer.pipeline_id, offer.node_id) == ("p1", "n2")


async def test_a_limit_keeps_a_pipeline_waiting_and_says_why(store: GamePipelineStore) -> None:
    await fleet(store, n1=FRANKFURT, n2=Location())
    await store.latencies.put_region(STOCKHOLM, now=NOW)
    await store.latencies.report(probes("n1", 80), now=NOW)
    answer = await place(store, "p1", **to_sweden(40))
    assert answer.status is PlaceStatus.QUEUED
    entry = await store.placements.queue_entry("p1")
    assert entry is not None
    assert [verdict.code for verdict in entry.verdicts] == ["LATENCY_TOO_HIGH", "LATENCY_UNKNOWN"]
    assert "ms from se (measured" in entry.verdicts[0].message
    assert "above 40 ms" in entry.verdicts[0].message
    await store.latencies.report(probes("n2", 25), now=NOW)
    (offer,) = await store.placements.offer(now=NOW)
    assert offer.node_id == "n2"


async def test_a_node_that_is_moved_is_as_far_as_its_new_place(store: GamePipelineStore) -> None:
    await fleet(store, n1=VIRGINIA)
    await store.latencies.put_region(STOCKHOLM, now=NOW)
    far = await estimate(store, "n1")
    await store.nodes.update("n1", NodeChange(location=FRANKFURT), now=NOW)
    near = await estimate(store, "n1")
    assert far.ms is not None
    assert near.ms is not None
    assert near.ms < far.ms / 2
