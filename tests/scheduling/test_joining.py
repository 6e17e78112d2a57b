"""Nodes that join a fleet: it is then what it would have been with them from the start."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model.record import Allocation
from gamepipe.scheduling.choose import Choice, Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.replay import BEGIN, held
from tests.scheduling.picture import picture

NODES = made_nodes(8, 3)
TASKS = [one.task for one in made_requests(NODES, 24, 1.0, 3)]


def _placed() -> list[Allocation]:
    """On all nodes, some of them preemptible, and one that leaves."""
    fleet, allocations = Fleet(NODES), []
    for number, task in enumerate(TASKS):
        choice = Chooser(Snapshot(fleet=fleet)).choose(task.need)
        if isinstance(choice, Choice):
            one = held(f"p{number}", task, choice)
            one = replace(one, preemptible=number % 2 == 0, priority=number % 3, taken_at=BEGIN)
            allocations.append(replace(one, preempted_for="high" if number == 4 else ""))
            fleet.hold(allocations[-1])
    return allocations


PLACED = _placed()


@settings(max_examples=60, deadline=None)
@given(later=st.sets(st.integers(0, len(NODES) - 1)))
def test_it_is_as_though_they_had_been_there_from_the_start(later: set[int]) -> None:
    there = [node for row, node in enumerate(NODES) if row not in later]
    before = Fleet(there, PLACED)
    was, whole = picture(before), Fleet(NODES, PLACED)
    joined = before.joined(NODES[row] for row in later)
    assert picture(joined) == picture(whole)
    assert joined.holdings.of("default").tolist() == whole.holdings.of("default").tolist()
    chooser, other = (Chooser(Snapshot(fleet=fleet)) for fleet in (joined, whole))
    for task in TASKS:
        assert chooser.choose(task.need) == other.choose(task.need)
    for priority in range(3):
        here, there_ = (fleet.preemptibles.classes_below(priority) for fleet in (joined, whole))
        assert here == there_
    joined.free(PLACED[0].pipeline_id, PLACED[0].generation)
    assert picture(before) == was, "the one before stays as it was"


def test_one_that_has_more_devices_than_any_before_joins() -> None:
    few = [
        replace(node, facts=replace(node.facts, gpus=node.facts.gpus[:1])) for node in NODES[::2]
    ]
    more = NODES[1::2]
    on_few = [one for one in PLACED if one.node_id in {node.id for node in few}]
    joined = Fleet(few, on_few).joined(more)
    assert joined.devices.width > 1
    assert picture(joined) == picture(Fleet([*few, *more], on_few))
