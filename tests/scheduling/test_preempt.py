"""Who makes room for a pipeline of a higher class, against every set that could."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st

from gamepipe.model.node import Location
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, PlacementRequest, Resources
from gamepipe.scheduling import preempt
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Capacity
from gamepipe.scheduling.preempt import Clearing, clear
from tests.scheduling import worlds
from tests.scheduling.queueing import node
from tests.scheduling.reference import World
from tests.scheduling.test_property import play, property_of
from tests.scheduling.worlds import NOW, Scene, need, ports, scenes


@dataclass(frozen=True)
class Standing:
    """What there is to say of one that runs."""

    priority: int
    preemptible: bool
    minutes: int
    taken: bool
    leaving: bool


standing = st.builds(
    Standing,
    priority=st.integers(0, 2),
    preemptible=st.sampled_from((True, True, True, False)),
    minutes=st.integers(0, 3),
    taken=st.sampled_from((True,) * 7 + (False,)),
    leaving=st.sampled_from((True,) + (False,) * 7),
)
runs = st.lists(st.tuples(need, standing), max_size=10)

# Few and full, so that what is wanted seldom fits, and often would if somebody left.
machine = st.builds(
    lambda cpu, gpus, zone: replace(
        node("", cpu=cpu, gpus=gpus), location=Location(zone=zone), labels={"tier": zone}
    ),
    cpu=st.sampled_from((4.0, 6.0)),
    gpus=st.integers(0, 3),
    zone=st.sampled_from(("a", "b")),
)
machines = st.lists(machine, min_size=1, max_size=3).map(
    lambda found: [replace(one, id=f"n{place}") for place, one in enumerate(found)]
)
full_scenes = st.builds(Scene, machines, st.just(Capacity()), st.just([float("nan")] * 6))
small, large = st.sampled_from((0.5, 1.0, 1.5)), st.sampled_from((2.0, 3.5, 4.0))


def work(cores: st.SearchStrategy[float]) -> st.SearchStrategy[Need]:
    return st.builds(
        Need,
        resources=st.builds(
            Resources,
            cpu=cores,
            gpu=st.one_of(
                *[st.just(GpuRequest())] * 2,
                st.builds(GpuRequest, count=st.sampled_from((1, 1, 2, -1))),
                st.builds(GpuRequest, share=st.sampled_from((0.25, 0.5, 0.7))),
            ),
        ),
        placement=st.one_of(
            *[st.just(PlacementRequest())] * 3,
            st.builds(
                PlacementRequest,
                spread=st.sampled_from(("node", "zone", "tier")),
                spread_by=st.sampled_from(("tenant", "template")),
                spread_most=st.sampled_from((1, 2)),
            ),
        ),
        host_ports=ports.map(tuple),
        tenant=st.sampled_from(("red", "blue")),
        template=st.sampled_from(("race", "chess")),
    )


much = st.lists(st.tuples(work(small), standing), min_size=10, max_size=20)
cases = st.one_of(st.tuples(scenes, runs, need), *[st.tuples(full_scenes, much, work(large))] * 3)
Case = tuple[Scene, list[tuple[Need, Standing]], Need]


def run(scene: Scene, found: list[tuple[Need, Standing]]) -> None:
    for wanted, stands in found:
        if scene.place(wanted) is None:
            continue
        held = replace(
            list(scene.world.held.values())[-1],
            priority=stands.priority,
            preemptible=stands.preemptible,
            taken_at=NOW - timedelta(minutes=stands.minutes) if stands.taken else None,
            preempted_for="somebody" if stands.leaving and stands.preemptible else "",
        )
        scene.world.held[held.pipeline_id] = held
        scene.fleet.hold(held)


def without(world: World, gone: tuple[Allocation, ...]) -> World:
    """The same, once those have left and those that are leaving."""
    left = copy(world)
    ids = {one.pipeline_id for one in gone}
    left.held = {
        name: one for name, one in world.held.items() if name not in ids and not one.preempted_for
    }
    return left


def sets(world: World, node_id: str, priority: int) -> Iterator[tuple[Allocation, ...]]:
    """All that could be asked there, none first."""
    here = [
        one
        for one in world.on(node_id)
        if one.preemptible and one.taken_at and one.priority < priority and not one.preempted_for
    ]
    return chain.from_iterable(combinations(here, size) for size in range(len(here) + 1))


def rank(victims: tuple[Allocation, ...]) -> tuple[int, int, int]:
    minutes = [(NOW - (one.taken_at or NOW)) // timedelta(minutes=1) for one in victims]
    return max((one.priority for one in victims), default=-1), len(victims), sum(minutes)


def enough(world: World, wanted: Need, priority: int) -> list[tuple[int, int, int]]:
    """How those sets rank that make room."""
    return [
        rank(victims)
        for node_id in world.nodes
        for victims in sets(world, node_id, priority)
        if node_id in without(world, victims).fits(wanted)
    ]


@property_of
@given(cases, st.integers(1, 3))
def test_the_least_set_of_all_is_chosen(case: Case, priority: int) -> None:
    scene, found, wanted = case
    run(scene, found)
    if scene.world.fits(wanted):
        return
    clearing = clear(wanted, scene.chooser.snapshot, priority=priority, now=NOW)
    best = min(enough(scene.world, wanted, priority), default=None)
    note(f"{clearing} {best}")
    event(f"victims: {len(clearing.victims) if clearing else None}")
    assert (clearing and rank(clearing.victims)) == best
    if clearing is not None:
        check(scene, clearing, wanted, priority)


def check(scene: Scene, clearing: Clearing, wanted: Need, priority: int) -> None:
    node_id, victims = scene.fleet.nodes[clearing.row].id, clearing.victims
    assert all(one.preemptible and one.priority < priority for one in victims)
    assert {one.node_id for one in victims} <= {node_id}
    for some in combinations(victims, max(len(victims) - 1, 0)):
        assert not victims or node_id not in without(scene.world, some).fits(wanted)
    left = without(scene.world, victims)
    assert node_id in left.fits(wanted)
    fleet = Fleet(left.nodes.values(), left.held.values(), capacity=left.capacity)
    assert clearing.gpu_devices == fleet.devices.pick(wanted.resources.gpu, clearing.row)


@property_of
@given(cases, st.integers(1, 3))
def test_a_set_that_is_not_looked_for_everywhere_is_still_minimal(
    case: Case, priority: int
) -> None:
    scene, found, wanted = case
    run(scene, found)
    if scene.world.fits(wanted):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preempt, "MOST_SETS", 0)
        clearing = clear(wanted, scene.chooser.snapshot, priority=priority, now=NOW)
    ranks = enough(scene.world, wanted, priority)
    assert (clearing is None) == (not ranks)
    if clearing is not None:
        assert rank(clearing.victims)[0] == min(ranks)[0]
        check(scene, clearing, wanted, priority)


happening = st.lists(
    st.one_of(
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("change"), st.tuples(st.integers(0, 9), worlds.node)),
        st.tuples(st.just("change"), st.tuples(st.integers(0, 9), machine)),
    ),
    max_size=6,
)


@property_of
@given(cases, happening)
def test_what_is_kept_as_things_change_is_what_a_new_fleet_says(
    case: Case, happens: list[tuple[str, Any]]
) -> None:
    scene, found, wanted = case
    run(scene, found)
    for act in (("", None), *happens):
        play(scene, act)
        snapshot = scene.chooser.snapshot
        anew = replace(snapshot, fleet=scene.rebuilt().snapshot.fleet)
        kept = clear(wanted, snapshot, priority=3, now=NOW)
        assert kept == clear(wanted, anew, priority=3, now=NOW)
