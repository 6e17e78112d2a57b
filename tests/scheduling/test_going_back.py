"""A fleet that goes back to a mark is what it was there, whatever was done to it since."""

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

NODES = 8
TASKS = list(dict.fromkeys(one.task for one in made_requests(made_nodes(NODES, 3), 200, 1.0, 3)))[
    :6
]
STEP = st.tuples(
    st.sampled_from(["place", "replace", "preempt", "free", "move", "shrink"]),
    st.integers(0, 5),
    st.integers(0, NODES - 1),
)


def _do(fleet: Fleet, chooser: Chooser, step: tuple[str, int, int]) -> None:
    kind, number, row = step
    node, key = fleet.nodes[row], (f"p{number}", 1)
    if kind in ("place", "replace"):
        choice = chooser.choose(TASKS[number].need)
        if isinstance(choice, Choice) and (kind == "replace" or key not in fleet.held):
            fleet.hold(_preemptible(held(key[0], TASKS[number], choice), row))
    elif kind == "preempt" and key in fleet.held:
        fleet.hold(replace(fleet.held[key], preempted_for="high"))
    elif kind == "free":
        fleet.free(*key)
    elif kind == "move":
        fleet.put(replace(node, labels={**node.labels, "moved": f"{number}"}))
    elif kind == "shrink":
        facts = replace(node.facts, cpu=node.facts.cpu / 2, gpus=node.facts.gpus[:number])
        fleet.put(replace(node, facts=facts))


def _preemptible(allocation: Allocation, row: int) -> Allocation:
    return replace(allocation, preemptible=row % 2 == 0, taken_at=BEGIN, priority=row)


@settings(max_examples=100, deadline=None)
@given(before=st.lists(STEP, max_size=15), since=st.lists(STEP, max_size=15))
def test_it_is_what_it_was_at_the_mark(
    before: list[tuple[str, int, int]], since: list[tuple[str, int, int]]
) -> None:
    fleet = Fleet(made_nodes(NODES, 3))
    snapshot = Snapshot(fleet=fleet)
    kept = Chooser(snapshot)
    for step in before:
        _do(fleet, kept, step)
    was = picture(fleet)
    fleet.mark()
    for step in since:
        _do(fleet, kept, step)
    assert fleet.go_back()
    assert picture(fleet) == was
    for task in TASKS:
        assert kept.choose(task.need) == Chooser(snapshot).choose(task.need)
    assert not fleet.go_back(), "there is no mark any more"
