"""A made-up world over virtual time."""

from typing import Any

import pytest

from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.simulation.course import Course
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.policy import POLICIES
from gamepipe.simulation.timeline import run


def course(policy: str = "fragmentation", seed: int = 1, load: float = 1.5, **order: Any) -> Course:
    nodes = made_nodes(6, seed)
    requests = made_requests(nodes, 400, load, seed)
    return run(nodes, requests, policy=policy, seed=seed, order=OrderPolicy(**order))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_is_placed_or_waits(policy: str) -> None:
    found = course(policy)
    ids = [one.request.id for one in found.placed] + [one.id for one in found.waiting]
    assert sorted(ids) == [f"r{number:06d}" for number in range(400)]


def test_no_more_is_allocated_than_there_is() -> None:
    found = course(load=5.0)
    assert found.waiting
    assert all(point.allocated <= 1 for point in found.curve)
    assert 0 < found.allocated <= 1


def test_who_is_placed_on_arrival_waits_for_nothing() -> None:
    found = course(load=0.01)
    assert not found.waiting
    assert {wait for waits in found.waits.values() for wait in waits} == {0.0}


def test_under_load_the_players_of_all_tenants_wait() -> None:
    waits = course(load=5.0).waits
    assert set(waits) == {"small", "middle", "large"}
    assert all(max(of_tenant) > 0 for of_tenant in waits.values())


def served(found: Course) -> dict[str, float]:
    """Of what each tenant asked for, the part that was placed."""
    return {
        tenant: len(waits) / (len(waits) + found.unserved.get(tenant, 0))
        for tenant, waits in found.waits.items()
    }


def test_tenants_take_turns_by_their_weights() -> None:
    by = {
        favoured: served(course(load=5.0, tenant_weights={favoured: 100.0}))
        for favoured in ("small", "large")
    }
    assert by["small"]["small"] > by["large"]["small"]
    assert by["large"]["large"] > by["small"]["large"]


def test_limits_hold_as_in_production() -> None:
    found = course(load=0.01, limits=Limits(most={"tenant": {"middle": 0}}))
    assert set(found.waits) == {"small", "large"}
    assert set(found.unserved) == {"middle"}


def test_the_service_puts_players_nearer_than_chance_does() -> None:
    near, anywhere = (course(policy, load=0.5).latencies for policy in ("fragmentation", "random"))
    assert sum(near) / len(near) < sum(anywhere) / len(anywhere) / 2


def test_a_seed_gives_the_same_world_again() -> None:
    assert course(seed=2) == course(seed=2)
    assert course(seed=2) != course(seed=3)
