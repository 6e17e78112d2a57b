"""Preemption over virtual time."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, PlacementRequest, Resources
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.simulation.course import Course, Stay, rank_of
from gamepipe.simulation.fleet import Request, made_nodes, made_requests
from gamepipe.simulation.policy import POLICIES
from gamepipe.simulation.rank import CLASSES, MODE, ORDINARY, PREEMPTIBLE, URGENT, Ranks
from gamepipe.simulation.replay import BEGIN
from gamepipe.simulation.task import task_of
from gamepipe.simulation.timeline import GRACE, run

HOUR = 3600.0
GRACE_SECONDS = GRACE.total_seconds()
COUNT = 250
ON, OFF = OrderPolicy(), OrderPolicy(preemption=False)
RANKS = Ranks(urgent=0.1, preemptible=0.5)


# --- one node with one GPU ----------------------------------------------------------------------


def node() -> GameNode:
    facts = NodeFacts(
        cpu=8,
        memory_bytes=1 << 33,
        disk_bytes=1 << 40,
        gpus=(GpuFacts(index=0, model="L4"),),
        features=("container",),
    )
    return GameNode(id="n1", facts=facts)


def request(
    name: str,
    at: float,
    seconds: float,
    *,
    priority: int = 0,
    preemptible: bool = False,
    tenant: str = "default",
) -> Request:
    """One that takes the whole GPU."""
    need = Need(
        resources=Resources(cpu=1.0, gpu=GpuRequest(count=1)),
        placement=PlacementRequest(player_region="tokyo", preemptible=preemptible),
        tenant=tenant,
    )
    return Request(id=name, task=task_of(need), at=at, seconds=seconds, priority=priority)


VICTIM = request("victim", 0.0, HOUR, preemptible=True)
CLAIMANT = request("claimant", 60.0, 300.0, priority=10)
OTHER = request("other", 30.0, HOUR)
"""It waits since before the victim was asked."""


def played(*requests: Request, order: OrderPolicy = ON, until: float = 10 * HOUR) -> Course:
    """Up to the moment when a last one comes, which waits."""
    last = request("last", until, 1.0)
    location = replace(node().location, region="tokyo")
    nodes = [replace(node(), location=location)]
    return run(nodes, [*requests, last], policy="fragmentation", seed=1, order=order)


def stays_of(found: Course, name: str) -> list[tuple[float, float | None, str]]:
    mine = [one for one in found.stays if one.request.id == name]
    return [(one.since, one.until, one.preempted_for) for one in mine]


def wait_of(found: Course, name: str) -> float:
    return next(one.waited for one in found.placed if one.request.id == name)


def test_an_urgent_one_waits_for_the_grace_of_its_victim_and_without_preemption_for_its_end() -> (
    None
):
    preempting, patient = (played(VICTIM, CLAIMANT, order=order) for order in (ON, OFF))
    assert wait_of(preempting, "claimant") == GRACE_SECONDS
    assert wait_of(patient, "claimant") == HOUR - 60
    assert stays_of(patient, "victim") == [(0.0, HOUR, "")]


def test_a_victim_starts_anew_when_it_is_its_turn_and_has_waited_in_between() -> None:
    found = played(VICTIM, CLAIMANT)
    left, again = 60 + GRACE_SECONDS, 60 + GRACE_SECONDS + 300
    assert stays_of(found, "victim") == [(0.0, left, "claimant"), (again, again + HOUR, "")]
    assert wait_of(found, "victim") == 300
    assert found.lost == left


def test_a_victim_waits_at_its_old_place_before_those_who_came_later() -> None:
    found = played(VICTIM, OTHER, CLAIMANT)
    began = [one.request.id for one in found.stays]
    assert began == ["victim", "claimant", "victim", "other", "last"]


def test_room_is_kept_for_the_one_that_others_left_for() -> None:
    """Though it is the turn of another tenant, which holds nothing."""
    task = task_of(replace(VICTIM.task.need, resources=Resources(cpu=4.0)))
    holds = Request(id="holds", task=task, at=0.0, seconds=HOUR)
    late = request("late", CLAIMANT.at + GRACE_SECONDS / 2, HOUR, priority=10, tenant="another")
    found = played(VICTIM, holds, CLAIMANT, late)
    assert [one.request.id for one in found.stays][:4] == ["victim", "holds", "claimant", "late"]


def test_one_that_is_done_within_its_grace_is_not_interrupted() -> None:
    short = replace(VICTIM, seconds=60 + GRACE_SECONDS / 2)
    found = played(short, CLAIMANT)
    assert stays_of(found, "victim") == [(0.0, short.seconds, "")]
    assert wait_of(found, "claimant") == GRACE_SECONDS / 2
    assert not found.preempted


@pytest.mark.parametrize(
    ("victim", "claimant"),
    [
        (replace(VICTIM, priority=10), CLAIMANT),
        (request("victim", 0.0, HOUR), CLAIMANT),
        (VICTIM, replace(CLAIMANT, priority=0)),
    ],
    ids=["of the same class", "that did not say so", "for an ordinary one"],
)
def test_nobody_is_interrupted(victim: Request, claimant: Request) -> None:
    found = played(victim, claimant)
    assert stays_of(found, "victim") == [(0.0, HOUR, "")]
    assert wait_of(found, "claimant") == HOUR - 60


def test_whoever_has_reached_a_limit_preempts_nobody() -> None:
    labelled = replace(CLAIMANT, labels=((MODE, "event"),))
    limits = Limits(most={"label:mode": {"event": 0}})
    found = played(VICTIM, labelled, order=OrderPolicy(limits=limits))
    assert stays_of(found, "victim") == [(0.0, HOUR, "")]
    assert found.waiting == [labelled]


# --- a made-up fleet ----------------------------------------------------------------------------


@cache
def course(
    ranks: Ranks = RANKS, policy: str = "fragmentation", *, preemption: bool = True, event: int = 99
) -> Course:
    nodes = made_nodes(6, 1)
    limits = Limits(most={"label:mode": {"event": event}})
    order = OrderPolicy(preemption=preemption, limits=limits)
    requests = made_requests(nodes, COUNT, 1.5, 1, ranks)
    return run(nodes, requests, policy=policy, seed=1, order=order)


def moments(found: Course) -> Iterator[list[Stay]]:
    """Who holds something, whenever somebody has come."""
    for moment in sorted({one.since for one in found.stays}):
        yield [
            one
            for one in found.stays
            if one.since <= moment and (one.until is None or one.until > moment)
        ]


def requests_of(found: Course) -> list[Request]:
    return [one.request for one in found.placed] + found.waiting


def test_made_up_requests_are_of_all_classes_and_carry_labels() -> None:
    modes = ("casual", "ranked", "event")
    found = {(one.rank, dict(one.labels)[MODE]) for one in requests_of(course())}
    assert found == {(rank, mode) for rank in CLASSES for mode in modes}


def test_urgent_ones_wait_much_less_than_without_preemption() -> None:
    waits, without = (course(preemption=one).waits_by(rank_of)[URGENT] for one in (True, False))
    assert sum(waits) / len(waits) < sum(without) / len(without) / 4


@pytest.mark.parametrize("policy", POLICIES)
def test_only_the_preemptible_are_interrupted_and_only_for_the_urgent(policy: str) -> None:
    found = course(policy=policy)
    ranks = {one.id: one.rank for one in requests_of(found)}
    assert {one.request.rank for one in found.preempted} == {PREEMPTIBLE}
    assert {ranks[one.preempted_for] for one in found.preempted} == {URGENT}


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_sold_twice_at_any_time(policy: str) -> None:
    nodes = made_nodes(6, 1)
    for held in moments(course(policy=policy)):
        fleet = Fleet(nodes, [allocation(one) for one in held])
        assert (fleet.left >= 0).all()
        assert (fleet.devices.used <= fleet.devices.total).all()
        assert fleet.devices.whole.max() <= 1
        assert not (fleet.devices.whole.astype(bool) & fleet.devices.used.any(axis=2)).any()
        assert all(count == 1 for rows in fleet.ports.values() for count in rows.values())


def allocation(stay: Stay) -> Allocation:
    need = stay.request.task.need
    return Allocation(
        pipeline_id=stay.request.id,
        generation=1,
        node_id=stay.node_id,
        resources=need.resources,
        gpu_devices=stay.gpu_devices,
        host_ports=need.host_ports,
        created_at=BEGIN + timedelta(seconds=stay.since),
    )


def test_whoever_matches_labels_runs_on_nodes_that_have_them() -> None:
    tiers = {one.id: one.labels["tier"] for one in made_nodes(6, 1)}
    found: dict[bool, set[str]] = defaultdict(set)
    for one in course().stays:
        found[bool(one.request.task.need.placement.match)].add(tiers[one.node_id])
    assert found == {True: {"gold"}, False: {"gold", "silver"}}


def most_events(found: Course) -> int:
    """That ran at a time."""
    event = (MODE, "event")
    return max(sum(event in one.request.labels for one in held) for held in moments(found))


@pytest.mark.parametrize("most", [0, 2])
def test_a_limit_of_a_label_holds_at_every_moment(most: int) -> None:
    assert most_events(course(event=most)) == most < most_events(course())


def test_each_waits_or_is_placed_once_however_often_it_was_preempted() -> None:
    ids = [one.id for one in requests_of(course())]
    assert sorted(ids) == [f"r{number:06d}" for number in range(COUNT)]


def test_what_runs_to_its_end_runs_for_as_long_as_it_takes() -> None:
    done = [one for one in course().stays if one.until is not None and not one.preempted_for]
    assert all(one.until == pytest.approx(one.since + one.request.seconds) for one in done)


def test_without_urgent_ones_preemption_changes_nothing() -> None:
    nobody = Ranks(preemptible=0.5)
    assert course(nobody) == course(nobody, preemption=False)


def test_without_preemption_nobody_is_interrupted() -> None:
    assert not course(preemption=False).preempted
    assert course(preemption=False).lost == 0


def test_a_seed_gives_the_same_preemptions_again() -> None:
    assert course() == course.__wrapped__()


def test_the_classes_change_neither_what_comes_nor_when() -> None:
    def came(ranks: Ranks) -> list[tuple[float, float, str]]:
        nodes = made_nodes(6, 1)
        some = made_requests(nodes, 100, 1.5, 1, ranks)
        return [(one.at, one.seconds, one.task.need.template) for one in some]

    assert came(RANKS) == came(Ranks())


def test_who_is_urgent_does_not_hang_on_who_may_be_preempted() -> None:
    def ranks(preemptible: float) -> list[str]:
        nodes = made_nodes(6, 1)
        some = made_requests(nodes, 200, 1.5, 1, Ranks(urgent=0.2, preemptible=preemptible))
        return [one.rank for one in some]

    none, all_ = ranks(0.0), ranks(1.0)
    assert set(none) == {URGENT, ORDINARY}
    assert all_ == [PREEMPTIBLE if one == ORDINARY else one for one in none]
