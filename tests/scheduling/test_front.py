"""What a chooser keeps between decisions saves work and changes none, also in a large fleet, of
which it looks only at the front."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling import front
from gamepipe.scheduling.choose import EXPLAINED, Choice, Chooser, Refusal
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.front import Front
from gamepipe.scheduling.mix import learned
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Policy, Weights
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.replay import held
from gamepipe.simulation.task import Task, task_of

NODES = 40


@pytest.fixture(autouse=True)
def short_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "LENGTH", 6)
    monkeypatch.setattr(front, "LONGEST", 24)


def _tasks(seed: int) -> list[Task]:
    made = made_requests(made_nodes(NODES, seed), 200, 1.0, seed)
    tasks = list(dict.fromkeys(request.task for request in made))[:6]
    empty = Need(resources=replace(tasks[0].need.resources, gpu=GpuRequest(), cpu=0.0))
    return [*tasks, task_of(empty)]


def _nodes(seed: int, equal: bool) -> list[GameNode]:
    """Made up; or as many of one kind, more than two fronts, which only their ids set apart."""
    nodes = made_nodes(NODES, seed)
    if not equal:
        return nodes
    largest = max(nodes, key=lambda node: (len(node.facts.gpus), node.facts.cpu))
    return [replace(largest, id=node.id) for node in nodes]


FEW_LEFT = [(0, 0, 0)] * 10 + [(0, 1, 0)] * 9 + [(0, 0, 0)]
"""In the end fewer nodes of the front fit than an explanation compares."""


@settings(max_examples=60, deadline=None)
@example(equal=False, seed=404, steps=FEW_LEFT, weight=1.0)
@given(
    equal=st.booleans(),
    seed=st.integers(0, 1_000),
    steps=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, NODES - 1)),
        min_size=20,
        max_size=60,
    ),
    weight=st.sampled_from([1.0, 0.0, -0.5]),
)
def test_a_kept_chooser_decides_as_a_new_one_does(
    equal: bool, seed: int, steps: list[tuple[int, int, int]], weight: float
) -> None:
    fleet, tasks = Fleet(_nodes(seed, equal)), _tasks(seed)
    profile = learned([task.need.resources for task in tasks]).profile
    policy = Policy(weights=Weights(fragmentation=weight))
    snapshot = Snapshot(fleet=fleet, profile=profile, policy=policy)
    kept, running = Chooser(snapshot), []
    for number, (kind, freed, moved) in enumerate(steps):
        task = tasks[kind % len(tasks)]
        choice = kept.choose(task.need)
        assert choice == Chooser(snapshot).choose(task.need)
        assert kept.explain(task.need) == Chooser(snapshot).explain(task.need)
        if isinstance(choice, Choice):
            fleet.hold(held(f"p{number}", task, choice))
            running.append(f"p{number}")
        if running and not freed:
            fleet.free(running.pop(0), 1)
        if freed == 1:
            node = fleet.nodes[moved]
            fleet.put(replace(node, labels={**node.labels, "moved": str(number)}))


def test_of_equal_nodes_the_first_is_taken_behind_better_ones_that_filled_up() -> None:
    node = made_nodes(1, 0)[0]
    facts = replace(node.facts, cpu=8, gpus=())
    fleet = Fleet(replace(node, id=f"n{row:02}", facts=facts) for row in range(NODES))
    snapshot, task = Snapshot(fleet=fleet), task_of(Need(resources=Resources(cpu=4.0)))
    kept = Chooser(snapshot)

    def hold(rows: Iterable[int], cpu: float) -> None:
        other = task_of(Need(resources=Resources(cpu=cpu)))
        for row in rows:
            fleet.hold(held(f"{cpu} on {row}", other, Choice(node_id=f"n{row:02}")))

    def chosen() -> Choice | Refusal:
        choice = kept.choose(task.need)
        assert choice == Chooser(snapshot).choose(task.need)
        return choice

    assert chosen() == Choice(node_id="n00")
    hold(range(20, 32), 8.0)
    hold(range(32, 35), 1.0)
    assert chosen() == Choice(node_id="n32")
    passing = range(2, 2 + EXPLAINED)
    hold(passing, 2.0)
    chosen()
    for row in passing:
        fleet.free(f"2.0 on {row}", 1)
    hold(range(32, 35), 7.0)
    assert chosen() == Choice(node_id="n00")


def test_a_chooser_behind_another_decides_as_a_new_one_does() -> None:
    fleet, tasks = Fleet(made_nodes(NODES, 1)), _tasks(1)
    profile = learned([task.need.resources for task in tasks]).profile
    chooser = Chooser(Snapshot(fleet=fleet, profile=profile))
    for number, task in enumerate(tasks * 10):
        profile = learned([task.need.resources]).profile if number % 5 == 0 else profile
        failures = np.arange(NODES) * (number % 3) / 100
        snapshot = Snapshot(fleet=fleet, profile=profile, failures=failures)
        chooser = Chooser(replace(chooser.snapshot, profile=profile, failures=failures), chooser)
        choice = chooser.choose(task.need)
        assert choice == Chooser(snapshot).choose(task.need)
        assert chooser.explain(task.need) == Chooser(snapshot).explain(task.need)
        if isinstance(choice, Choice):
            fleet.hold(held(f"p{number}", task, choice))


def test_rows_of_equal_cost_are_in_the_front_in_their_order() -> None:
    found = Front.of(np.array([2.0, 1.0, *[3.0] * 10, np.inf]))
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.rest == (3.0, 6)
    assert found.settles((3.0, 5))
    assert not found.settles((3.0, 6))


def test_only_those_that_are_behind_the_rest_leave_the_front() -> None:
    found = Front.of(np.array([2.0, 1.0, *[3.0] * 20]))
    found.add(np.arange(4, 18))
    found.drop_rest(np.array([2.0, 1.0, *[3.0] * 15, 2.5]))
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5, 17]


def test_a_front_of_all_that_fit_settles_everything() -> None:
    found = Front.of(np.array([*[np.inf] * 10, 1.0, 2.0]))
    assert found.rows.tolist() == [10, 11]
    assert found.settles((2.0, 11))
    assert found.settles((np.inf, -2))


def test_nodes_that_got_more_devices_of_a_known_kind_are_weighed_anew() -> None:
    """A request for all devices can make more usable there than on any node before."""
    card = GpuFacts(index=0, model="NVIDIA L4", memory_bytes=24 << 30)

    def node(row: int, gpus: int, cpu: int) -> GameNode:
        devices = tuple(replace(card, index=index) for index in range(gpus))
        facts = NodeFacts(cpu=cpu, memory_bytes=1 << 40, disk_bytes=1 << 40, gpus=devices)
        return GameNode(id=f"n{row:02}", facts=facts)

    fleet = Fleet(node(row, 2, 4 if row < 10 else 64) for row in range(20))
    profile = learned([Resources(cpu=8.0, gpu=GpuRequest(count=1))]).profile
    snapshot = Snapshot(fleet=fleet, profile=profile)
    need, kept = Need(resources=Resources(cpu=1.0, gpu=GpuRequest(count=-1))), Chooser(snapshot)
    kept.choose(need)
    fleet.put(replace(fleet.nodes[0], labels={"moved": "yes"}))
    kept.choose(need)
    for row in range(12, 20):
        fleet.put(node(row, 8, 4))
    assert kept.choose(need) == Chooser(snapshot).choose(need)
    assert kept.explain(need) == Chooser(snapshot).explain(need)
