"""How often a fleet beats."""

from datetime import timedelta

from gamepipe.model.node import pace_of

TTL = timedelta(seconds=30)


def test_a_small_fleet_beats_six_times_within_the_ttl() -> None:
    assert pace_of(1, TTL) == pace_of(2500, TTL)
    assert pace_of(1, TTL).heartbeat == timedelta(seconds=5)
    short = timedelta(seconds=3)
    assert pace_of(0, short) == pace_of(200, short)
    assert pace_of(200, short).ttl == short


def test_a_larger_fleet_beats_more_slowly_and_may_be_silent_for_longer() -> None:
    pace = pace_of(10_000, TTL)
    assert (pace.heartbeat, pace.ttl) == (timedelta(seconds=20), timedelta(seconds=120))


def test_the_pace_of_a_growing_fleet_changes_seldom() -> None:
    assert len({pace_of(fleet, TTL) for fleet in range(10_000)}) == 16
