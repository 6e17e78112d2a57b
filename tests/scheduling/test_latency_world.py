"""Placed by latency in a synthetic world: never worse than by distance, much better with probes."""

import argparse

import pytest

from bench.latency import run


def world(routes: str) -> argparse.Namespace:
    return argparse.Namespace(
        regions=12,
        sites=20,
        nodes=150,
        players=2000,
        free=30,
        detours=0.25,
        routes=routes,
        seeds=3,
    )


@pytest.mark.parametrize("routes", ["site", "node"])
def test_with_nothing_measured_players_are_as_near_as_by_distance(routes: str) -> None:
    found = run(world(routes), 0.0)
    assert found["ours"]["mean_ms"] == pytest.approx(found["nearest"]["mean_ms"])
    assert found["ours"]["mean_ms"] < found["random"]["mean_ms"] / 4


@pytest.mark.parametrize(("share", "of_nearest"), [(0.1, 0.8), (0.3, 0.4), (0.6, 0.15)])
def test_a_few_measured_ways_tell_of_the_others(share: float, of_nearest: float) -> None:
    found = run(world("site"), share)
    assert found["ours"]["mean_ms"] < of_nearest * found["nearest"]["mean_ms"]
    assert found["ours"]["p95_ms"] < found["nearest"]["p95_ms"]


def test_even_where_nothing_can_be_foreseen_measured_ways_help() -> None:
    found = run(world("node"), 0.3)
    assert found["ours"]["mean_ms"] < 0.8 * found["nearest"]["mean_ms"]
