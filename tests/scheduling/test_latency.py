"""Latency: robust where it is measured, predicted from neighbours where not, else by distance."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model import latency as ends
from gamepipe.model.latency import Endpoint, Measured, MeasuredWay
from gamepipe.model.node import GameNode, Location, NodeFacts
from gamepipe.model.spec import PlacementRequest
from gamepipe.scheduling.choose import Choice, choose, verdicts
from gamepipe.scheduling.coordinate import fit, ways_of
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import SOURCES, Latencies, Latency
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.network import Network, network_of
from gamepipe.scheduling.probe import HALF_LIFE, KEPT, Sample, kept, measured_by
from gamepipe.scheduling.snapshot import Snapshot
from tests.store.shapes import NOW

FACTS = NodeFacts(cpu=8, memory_bytes=1 << 36, disk_bytes=1 << 40)
STOCKHOLM, FRANKFURT, VIRGINIA, SYDNEY = (59.3, 18.1), (50.1, 8.7), (39.0, -77.5), (-33.9, 151.2)
REGIONS = {"se": STOCKHOLM}


def node(node_id: str, spot: tuple[float, float] | None = None, zone: str = "") -> GameNode:
    latitude, longitude = spot or (None, None)
    location = Location(zone=zone, latitude=latitude, longitude=longitude)
    return GameNode(id=node_id, facts=FACTS, location=location)


def measured(rtt_ms: float, *, age: timedelta = timedelta(), probes: int = 10) -> Measured:
    seconds = NOW.timestamp() - age.total_seconds()
    samples = [Sample(at=seconds - 60 * n, rtt_ms=rtt_ms) for n in range(probes)]
    return measured_by(kept(samples), in_all=probes)


def known(
    nodes: Sequence[GameNode],
    ways: dict[tuple[str, str], Measured],
    regions: dict[str, tuple[float, float]] = REGIONS,
    *,
    between: Sequence[MeasuredWay] = (),
) -> Latencies:
    """With everything that follows from what was measured."""
    measured_ways = [
        MeasuredWay(source=ends.region(region), node_id=node_id, measured=one)
        for (region, node_id), one in ways.items()
    ]
    probes: dict[str, dict[str, Measured]] = {}
    for (region, node_id), one in ways.items():
        probes.setdefault(region, {})[node_id] = one
    network = network_of([*measured_ways, *between], nodes, regions, now=NOW)
    return Latencies(regions=regions, probes=probes, network=network, now=NOW)


def toward(latencies: Latencies, nodes: Sequence[GameNode], region: str = "se") -> dict[str, str]:
    found = latencies.toward(region, Fleet(nodes))
    return {one.id: SOURCES[found.source[row]] for row, one in enumerate(nodes)}


def ms_of(latencies: Latencies, nodes: Sequence[GameNode], region: str = "se") -> list[float]:
    return [float(ms) for ms in latencies.toward(region, Fleet(nodes)).ms]


# --- probes ---------------------------------------------------------------------------------------


def test_one_outlier_among_probes_decides_nothing() -> None:
    samples = [Sample(at=60.0 * n, rtt_ms=ms) for n, ms in enumerate((20, 21, 900, 19))]
    assert 19 <= measured_by(samples, in_all=4).rtt_ms <= 21


def test_of_one_minute_the_middle_counts_not_the_last_or_the_highest() -> None:
    minute = [Sample(at=60.0, rtt_ms=ms) for ms in (20, 21, 22, 400, 19, 500, 23)]
    assert measured_by(kept(minute), in_all=7).rtt_ms == 22


def test_a_burst_of_one_minute_does_not_push_out_the_others() -> None:
    calm = [Sample(at=60.0 * n, rtt_ms=20) for n in range(10)]
    burst = [Sample(at=601.0 + n / 100, rtt_ms=500) for n in range(100)]
    assert measured_by(kept([*calm, *burst]), in_all=110).rtt_ms == 20


def test_a_route_that_changed_is_believed_before_long() -> None:
    before = [Sample(at=60.0 * n, rtt_ms=20) for n in range(100)]
    after = [Sample(at=6000 + 60.0 * n, rtt_ms=80) for n in range(KEPT // 2 + 1)]
    assert measured_by(kept([*before, *after]), in_all=0).rtt_ms == 80


def test_many_probes_take_no_more_room_than_few() -> None:
    assert len(kept(Sample(at=60.0 * n, rtt_ms=20) for n in range(1000))) == KEPT


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Sample,
            at=st.floats(0, 1e9),
            rtt_ms=st.floats(0.1, 10_000),
            count=st.integers(1, 1000),
        ),
        min_size=1,
    )
)
def test_the_figure_of_probes_lies_among_them_in_whatever_order_they_came(
    samples: list[Sample],
) -> None:
    found = measured_by(kept(samples), in_all=len(samples))
    assert min(s.rtt_ms for s in samples) <= found.rtt_ms <= max(s.rtt_ms for s in samples)
    assert found.jitter_ms >= 0
    assert found == measured_by(kept(reversed(samples)), in_all=len(samples))
    assert kept(kept(samples)) == kept(samples)


# --- what is known, from best to worst ------------------------------------------------------------


def test_each_node_says_how_its_latency_is_known() -> None:
    nodes = [
        node("a", FRANKFURT, "fra"),
        node("b", FRANKFURT, "fra"),
        node("c", SYDNEY),
        node("d"),
    ]
    latencies = known(nodes, {("se", "a"): measured(31)}, {"se": STOCKHOLM, "au": SYDNEY})
    assert toward(latencies, nodes) == {
        "a": "measured",
        "b": "predicted",
        "c": "predicted",
        "d": "unknown",
    }
    assert toward(latencies, nodes, "au")["c"] == "distance"
    assert set(toward(latencies, nodes, "mars").values()) == {"unknown"}
    assert np.isnan(latencies.toward("se", Fleet(nodes)).ms[3])


def test_by_distance_alone_the_nearest_is_the_nearest() -> None:
    nodes = [node("fra", FRANKFURT), node("iad", VIRGINIA), node("syd", SYDNEY)]
    near, far, farther = ms_of(known(nodes, {}), nodes)
    assert 10 < near < 40
    assert 70 < far < 150 < farther < 350


def test_a_measured_figure_stands_against_what_was_predicted() -> None:
    nodes = [node("a", FRANKFURT)]
    (ms,) = ms_of(known(nodes, {("se", "a"): measured(95)}), nodes)
    assert ms == pytest.approx(95, abs=4)


def test_without_any_place_the_nodes_of_a_site_are_predicted_from_each_other() -> None:
    nodes = [node("a", zone="z1"), node("b", zone="z1"), node("c", zone="z2")]
    latencies = known(nodes, {("se", "a"): measured(31)}, {})
    assert toward(latencies, nodes) == {"a": "measured", "b": "predicted", "c": "unknown"}
    assert ms_of(latencies, nodes)[1] == pytest.approx(31, abs=8)


def test_a_detour_to_one_node_is_one_to_its_neighbours() -> None:
    nodes = [node("a", FRANKFURT, "fra"), node("b", FRANKFURT, "fra"), node("c", FRANKFURT, "fra")]
    plain = ms_of(known(nodes, {}), nodes)[2]
    ways = {("se", "a"): measured(120), ("se", "b"): measured(125)}
    latencies = known(nodes, ways)
    assert abs(ms_of(latencies, nodes)[2] - 122) < abs(plain - 122) / 2


def test_a_node_without_a_place_is_found_by_what_others_measured_of_it() -> None:
    """Nobody says where `x` is; its round trips do: beside Frankfurt."""
    spots = {"fra": FRANKFURT, "iad": VIRGINIA, "syd": SYDNEY, "sto": STOCKHOLM}
    nodes = [*(node(name, spot) for name, spot in spots.items()), node("x")]
    truth = known([], {}, spots).toward
    (beside,) = (node("y", FRANKFURT),)
    between = [
        MeasuredWay(
            source=ends.node(name),
            node_id="x",
            measured=measured(float(truth(name, Fleet([beside])).ms[0])),
        )
        for name in spots
    ]
    latencies = known(nodes, {}, between=between)
    fra, x = (ms_of(latencies, nodes)[row] for row in (0, 4))
    assert toward(latencies, nodes)["x"] == "predicted"
    assert x == pytest.approx(fra, rel=0.35)


# --- ages, errors ---------------------------------------------------------------------------------


def test_probes_age_until_the_prediction_counts_again() -> None:
    nodes = [node("a", FRANKFURT)]
    (plain,) = ms_of(known(nodes, {}), nodes)
    old = Latencies(regions=REGIONS, probes={"se": {"a": measured(95, probes=1)}}, now=NOW)
    figures = [
        ms_of(replace(old, now=NOW + days * timedelta(days=1), _kept={}, _goals={}), nodes)[0]
        for days in (0, 4, 8, 12, 15)
    ]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > 80
    assert figures[-1] == pytest.approx(plain)


def test_a_newer_probe_counts_more_than_an_old_one() -> None:
    old = Sample(at=0, rtt_ms=20)
    new = Sample(at=2 * HALF_LIFE.total_seconds(), rtt_ms=80)
    assert measured_by([old, new], in_all=2).rtt_ms == 80
    assert measured_by([old, replace(old, at=1.0), new], in_all=3).rtt_ms == 80


def error(latencies: Latencies, nodes: Sequence[GameNode], row: int = 0) -> float:
    return float(latencies.toward("se", Fleet(nodes)).error_ms[row])


def test_the_error_shrinks_with_probes_and_grows_with_their_age() -> None:
    nodes = [node("a", FRANKFURT)]
    errors = [
        error(known(nodes, {("se", "a"): measured(30, probes=n)}), nodes) for n in (1, 3, 10, 20)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.5 * errors[-1]
    old = known(nodes, {("se", "a"): measured(30, probes=3, age=timedelta(days=6))})
    assert error(old, nodes) > errors[1]


def test_predictions_get_surer_with_what_is_measured_around_them() -> None:
    regions = {"se": STOCKHOLM, "us": VIRGINIA, "au": SYDNEY}
    nodes = [node("x", FRANKFURT, "fra"), *(node(f"n{n}", FRANKFURT, "fra") for n in range(6))]
    truth = known(nodes, {}, regions)
    errors = []
    for count in (0, 2, 6):
        ways = {
            (region, f"n{n}"): measured(ms_of(truth, nodes, region)[0])
            for region in regions
            for n in range(count)
        }
        errors.append(error(known(nodes, ways, regions), nodes))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


# --- properties -----------------------------------------------------------------------------------

_SPOT = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
_PLACED = st.tuples(st.none() | _SPOT, st.sampled_from(["", "z1", "z2"]))
_WAY = st.tuples(
    st.sampled_from(["se", "us", "xx"]),
    st.integers(0, 7),
    st.floats(0.1, 10_000),
    st.integers(1, 5),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[GameNode], dict[tuple[str, str], Measured]]:
    placed = draw(st.lists(_PLACED, min_size=1, max_size=8))
    nodes = [node(f"n{row}", spot, zone) for row, (spot, zone) in enumerate(placed)]
    ways = {
        (region, f"n{row % len(nodes)}"): measured(rtt_ms, probes=probes)
        for region, row, rtt_ms, probes in draw(st.lists(_WAY, max_size=20))
    }
    return nodes, ways


@settings(deadline=None)
@given(worlds())
def test_a_latency_is_never_negative_and_its_error_is_known_with_it(
    world: tuple[list[GameNode], dict[tuple[str, str], Measured]],
) -> None:
    nodes, ways = world
    latencies = known(nodes, ways, {"se": STOCKHOLM, "us": VIRGINIA})
    for region in ("se", "us", "xx"):
        found = latencies.toward(region, Fleet(nodes))
        is_known = found.source > 0
        assert (is_known == ~np.isnan(found.ms)).all()
        assert (found.ms[is_known] > 0).all()
        assert (found.error_ms[is_known] > 0).all()
        assert np.isfinite(found.cautious_ms[is_known]).all()


@settings(deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_same_measurements_give_the_same_figures_in_whatever_order(
    world: tuple[list[GameNode], dict[tuple[str, str], Measured]],
    random: Random,
) -> None:
    nodes, ways = world
    mixed = list(ways.items())
    random.shuffle(mixed)
    first, second = known(nodes, ways), known(nodes[::-1], dict(mixed))
    ordered = sorted(nodes, key=lambda one: one.id)
    assert ms_of(first, ordered) == pytest.approx(ms_of(second, ordered), nan_ok=True)


@settings(deadline=None)
@given(worlds())
def test_what_is_stored_of_a_network_is_the_network(
    world: tuple[list[GameNode], dict[tuple[str, str], Measured]],
) -> None:
    nodes, ways = world
    whole = known(nodes, ways)
    read = replace(whole, network=Network.read(whole.network.document()), _kept={}, _goals={})
    assert ms_of(read, nodes) == pytest.approx(ms_of(whole, nodes), abs=1e-3, nan_ok=True)


@settings(deadline=None)
@given(worlds(), st.integers(0, 7))
def test_no_figure_depends_on_which_other_nodes_are_asked_for(
    world: tuple[list[GameNode], dict[tuple[str, str], Measured]], row: int
) -> None:
    nodes, ways = world
    latencies, one = known(nodes, ways), nodes[row % len(nodes)]
    among = ms_of(latencies, nodes)[row % len(nodes)]
    assert ms_of(latencies, [one])[0] == pytest.approx(among, nan_ok=True)


def test_the_way_back_is_as_long() -> None:
    here, there = ends.node("a"), ends.node("b")
    spots = {here: FRANKFURT, there: VIRGINIA}

    def fitted(*ways: tuple[Endpoint, Endpoint, float, float]) -> list[float]:
        found = fit(ways_of(ways), spots)
        return [*found.height, *found.shift.ravel(), *found.error]

    assert fitted((here, there, 120.0, 1.0)) == fitted((there, here, 120.0, 1.0))


# --- columns of a fleet, decisions ----------------------------------------------------------------


def test_a_node_that_moves_or_joins_gets_its_figure() -> None:
    fleet = Fleet([node("a", FRANKFURT)])
    latencies = known([], {})
    before = latencies.toward("se", fleet)
    assert latencies.toward("se", fleet) is before
    fleet.put(node("a", SYDNEY))
    assert latencies.toward("se", fleet).ms[0] > 3 * before.ms[0]
    joined = Fleet([node("a", SYDNEY), node("b", FRANKFURT)])
    assert latencies.toward("se", joined).ms[1] == before.ms[0]


def need(**wanted: object) -> Need:
    return Need(placement=PlacementRequest(player_region="se", **wanted))  # type: ignore[arg-type]


def snapshot(nodes: Sequence[GameNode], latencies: Latencies) -> Snapshot:
    return Snapshot(fleet=Fleet(nodes), latencies=latencies)


def test_an_uncertain_prediction_does_not_beat_a_measured_figure() -> None:
    """Both are thought to be equally far; of one it is known."""
    nodes = [node("a", FRANKFURT), node("b", FRANKFURT)]
    (ms, _) = ms_of(known(nodes, {}), nodes)
    latencies = Latencies(regions=REGIONS, probes={"se": {"b": measured(ms)}}, now=NOW)
    answer = choose(need(), snapshot(nodes, latencies))
    assert isinstance(answer, Choice)
    assert answer.node_id == "b"


def test_the_limit_is_held_against_the_plain_figure_and_says_how_it_is_known() -> None:
    nodes = [node("a", FRANKFURT), node("b", SYDNEY), node("c")]
    latencies = known(nodes, {("se", "b"): measured(290)})
    found: Latency = latencies.toward("se", Fleet(nodes))
    limit = (found.ms[0] + found.cautious_ms[0]) / 2
    answer = choose(need(max_latency_ms=limit), snapshot(nodes, latencies))
    assert isinstance(answer, Choice)
    assert answer.node_id == "a"
    high, unknown = verdicts(need(max_latency_ms=limit), snapshot(nodes, latencies))
    assert (high.node_id, high.code, unknown.code) == ("b", "LATENCY_TOO_HIGH", "LATENCY_UNKNOWN")
    assert "ms from se (measured, give or take" in high.message
    assert "report probes from there" in unknown.message
