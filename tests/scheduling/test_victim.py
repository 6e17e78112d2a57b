"""Who is asked to make room, by example; `test_preempt` compares with every possible choice."""

from datetime import timedelta

from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, PlacementRequest, Resources
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.preempt import Clearing, clear
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling.queueing import need as asked
from tests.scheduling.queueing import node
from tests.scheduling.worlds import NOW


def fleet(*running: Allocation, nodes: int = 2, gpus: int = 2) -> Snapshot:
    made = [node(f"n{place}", gpus=gpus) for place in range(1, nodes + 1)]
    return Chooser(Snapshot(fleet=Fleet(made, running))).snapshot


def running(name: str, node_id: str, *devices: int, minutes: int = 0, **more: object) -> Allocation:
    values: dict[str, object] = {"preemptible": True, "priority": 0, "generation": 1} | more
    return Allocation(
        pipeline_id=name,
        node_id=node_id,
        resources=Resources(gpu=GpuRequest(count=len(devices))),
        gpu_devices=devices,
        created_at=NOW,
        taken_at=NOW - timedelta(minutes=minutes),
        **values,  # type: ignore[arg-type]  # of fields by name
    )


def victims(snapshot: Snapshot, wanted: Need, priority: int = 5) -> list[str]:
    clearing = clear(wanted, snapshot, priority=priority, now=NOW)
    return [one.pipeline_id for one in clearing.victims] if clearing else []


def test_the_lowest_class_is_asked_first_though_it_takes_more_of_them() -> None:
    snapshot = fleet(
        running("a", "n1", 0), running("b", "n1", 1), running("c", "n2", 0, 1, priority=1)
    )
    assert victims(snapshot, asked(gpus=2)) == ["a", "b"]


def test_of_equal_ones_the_youngest_is_asked() -> None:
    snapshot = fleet(running("old", "n1", 0, 1, minutes=50), running("young", "n2", 0, 1))
    assert victims(snapshot, asked(gpus=1)) == ["young"]


def test_one_that_was_preempted_before_is_not_the_youngest_again() -> None:
    again = running("again", "n1", 0, 1, generation=2, queued_at=NOW - timedelta(minutes=70))
    snapshot = fleet(again, running("first", "n2", 0, 1, minutes=50))
    assert victims(snapshot, asked(gpus=1)) == ["first"]


def test_what_one_waited_before_it_ran_for_the_first_time_is_no_work() -> None:
    waited = running("waited", "n1", 0, 1, queued_at=NOW - timedelta(minutes=70))
    snapshot = fleet(waited, running("other", "n2", 0, 1, minutes=50))
    assert victims(snapshot, asked(gpus=1)) == ["waited"]


def test_where_equal_work_is_lost_the_node_that_costs_less_decides() -> None:
    snapshot = fleet(running("a", "n1", 0), running("b", "n2", 0), gpus=1)
    loaded = fleet(running("a", "n1", 0), running("b", "n2", 0), gpus=1)
    loaded.fleet.load[0] = 1.0
    assert victims(snapshot, asked(gpus=1)) == ["a"]
    assert victims(loaded, asked(gpus=1)) == ["b"]


def test_nobody_is_asked_where_room_is_being_made() -> None:
    snapshot = fleet(running("a", "n1", 0, 1, preempted_for="x"), running("b", "n2", 0, 1))
    clearing = clear(asked(gpus=2), snapshot, priority=5, now=NOW)
    assert clearing == Clearing(row=0, gpu_devices=(0, 1))


def test_its_own_room_comes_before_that_of_others() -> None:
    snapshot = fleet(
        running("a", "n1", 0, 1, preempted_for="x"), running("b", "n2", 0, 1, preempted_for="me")
    )
    clearing = clear(asked(gpus=2), snapshot, priority=5, now=NOW, for_="me")
    assert clearing == Clearing(row=1, gpu_devices=(0, 1))


def test_one_whose_leaving_lets_a_crowd_shrink_is_asked() -> None:
    spread = PlacementRequest(spread="node", spread_by="tenant", spread_most=1)
    snapshot = fleet(running("a", "n1", 0, tenant="red"), nodes=1)
    assert victims(snapshot, asked("red", gpus=1, placement=spread)) == ["a"]


def test_many_small_ones_are_asked_as_far_as_they_are_needed() -> None:
    small = [running(f"p{i:02}", "n1", i, minutes=i) for i in range(40)]
    snapshot = fleet(*small, nodes=1, gpus=40)
    assert victims(snapshot, asked(gpus=20)) == [f"p{i:02}" for i in range(20)]
