"""Tenants that flood the queue, in virtual time: what bench.fairness measures, at a small scale."""

import pytest

from bench.fairness import SMALL, TOLERANCE, WHOLE, Report, Scenario, World


@pytest.fixture(scope="module")
def flooded() -> Report:
    scenario = Scenario(nodes=6, hours=4.0, whole_at_seconds=2 * 3600.0, backlog=40)
    return World(scenario).run()


def test_gpu_time_follows_the_weights() -> None:
    """Without a job for a whole node, which is a large part of so small a fleet."""
    report = World(Scenario(nodes=16, hours=2.5, whole_at_seconds=1e9, backlog=60)).run()
    assert report.deviation <= TOLERANCE, report.gpu_shares
    assert report.utilization > 0.95


def test_a_small_tenant_does_not_wait_behind_the_flood(flooded: Report) -> None:
    assert flooded.longest_small_wait_seconds < 120
    assert flooded.wait_seconds["gold"] > 10 * flooded.wait_seconds[SMALL]


def test_a_job_for_a_whole_node_runs_though_the_flood_never_ends(flooded: Report) -> None:
    assert flooded.wait_seconds[f"{WHOLE} of {WHOLE}"] < 2 * 3600


def test_the_same_seed_gives_the_same_report() -> None:
    scenario = Scenario(nodes=2, hours=1.5, whole_at_seconds=3600.0, backlog=10)
    assert World(scenario).run() == World(scenario).run()
