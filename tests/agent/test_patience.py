"""How a fleet comes back to its gateways."""

from itertools import islice

import pytest

from gamepipe.agent.patience import patience


def longest(ttl_seconds: float, *, tries: int, agents: int = 2000) -> list[float]:
    """The longest wait before each try, over many agents."""
    fleet = [list(islice(patience(ttl_seconds), tries)) for _ in range(agents)]
    return [max(waits) for waits in zip(*fleet, strict=True)]


def test_the_first_try_comes_soon_and_later_ones_spread_over_a_quarter_of_the_ttl() -> None:
    first, *_, last = longest(30.0, tries=12)
    assert first <= 1.0
    assert 7.0 < last <= 7.5


def test_a_larger_fleet_whose_ttl_is_longer_comes_back_over_a_longer_time() -> None:
    assert 25.0 < longest(600.0, tries=12)[-1] <= 30.0


@pytest.mark.parametrize("ttl_seconds", [0.0, 60.0])
def test_agents_that_lost_one_gateway_do_not_come_together(ttl_seconds: float) -> None:
    """Full jitter: the waits of a fleet fill the whole time, from nothing on."""
    waits = sorted(list(islice(patience(ttl_seconds), 10))[-1] for _ in range(2000))
    assert waits[100] < waits[-1] * 0.1
    assert waits[1000] == pytest.approx(waits[-1] / 2, rel=0.2)


def test_an_agent_that_no_gateway_has_answered_yet_finds_one_that_comes_up_soon() -> None:
    assert longest(0.0, tries=4) < [0.1, 0.2, 0.4, 0.8]
