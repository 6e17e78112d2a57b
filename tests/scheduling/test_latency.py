"""Latency: robust where it is measured, predicted from neighbours where not, else by distance."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gamepipe.model import latency as ends
from gamepipe.model.latency import MeasuredWay
from gamepipe.model.node import GameNode
from gamepipe.model.spec import PlacementRequest
from gamepipe.scheduling.choose import Choice, choose, verdicts
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import Latencies, Latency
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.probe import HALF_LIFE, Sample, measured_by
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling.latencies import (
    FRANKFURT,
    REGIONS,
    STOCKHOLM,
    SYDNEY,
    VIRGINIA,
    known,
    measured,
    ms_of,
    node,
    toward,
)
from tests.store.shapes import NOW

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
