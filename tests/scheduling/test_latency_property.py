"""Latencies of any world: what always holds of them."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model import latency as ends
from gamepipe.model.latency import Endpoint, Measured
from gamepipe.model.node import GameNode
from gamepipe.scheduling.coordinate import fit, ways_of
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.network import Network
from tests.scheduling.latencies import (
    FRANKFURT,
    STOCKHOLM,
    VIRGINIA,
    known,
    measured,
    ms_of,
    node,
)

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
