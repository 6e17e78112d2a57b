"""The place in the queue is the very order in which it is served; plans keep to it."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamepipe.model.forecast import Forecast, Turn
from gamepipe.scheduling.forecast import forecast, newcomer, outlook
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.present import Present
from gamepipe.scheduling.turn import turn_of
from tests.scheduling.queueing import Queueing, need, node


def present(world: Queueing) -> Present:
    return Present(
        chooser=world.chooser,
        lineup=world.lineup,
        policy=world.policy,
        labelled=world.labelled,
        now=world.now,
    )


def turn(world: Queueing, name: str) -> Turn:
    found = turn_of(name, present(world))
    assert found is not None
    return found


def planned(world: Queueing, asked: Need, *, count: int = 1, **line: Any) -> Forecast:
    scene = present(world)
    return forecast(newcomer(asked, scene, **line), scene, count=count)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 2),
        st.sampled_from([0.5, 1.0, 3.0]),
        st.integers(0, 2),
    ),
    max_size=15,
)


@given(waiting=ENTRIES, running=ENTRIES)
def test_places_are_the_order_in_which_all_are_served_when_there_is_room(
    waiting: list[tuple[str, int, float, int]], running: list[tuple[str, int, float, int]]
) -> None:
    world = Queueing(node("n1", cpu=1000, gpus=100), tenant_weights={"a": 2, "b": 0.5})
    for number, (tenant, _, cpu, gpus) in enumerate(running):
        world.run(f"running-{number}", "n1", need(tenant, cpu=cpu, gpus=gpus))
    names = [
        world.wait(need(tenant, cpu=cpu, gpus=gpus), priority=priority)
        for tenant, priority, cpu, gpus in waiting
    ]
    places = {turn(world, name).position: name for name in names}
    assert world.serve() == [places[place] for place in sorted(places)]


def test_a_place_says_what_it_is_counted_by() -> None:
    world = Queueing(node("n1", cpu=8), tenant_weights={"b": 2})
    world.run("b-runs", "n1", need("b", cpu=2))
    world.wait(need("c", cpu=4), priority=1)
    world.wait(need("b", cpu=8))
    name = world.wait(need("b", cpu=8))
    world.wait(need("a", cpu=8))
    found = turn(world, name)
    assert (found.position, found.waiting) == (4, 4)
    assert (found.above, found.older, found.others, found.limited) == (1, 1, 1, 0)
    assert (found.tenant, found.share, found.share_of, found.weight) == ("b", 0.25, "cores", 2)


def test_those_whom_a_limit_holds_back_have_no_turn() -> None:
    limits = Limits(most={"template": {"busy": 0}})
    world = Queueing(node("n1", cpu=1), limits=limits)
    held_back = [world.wait(need(cpu=2, template="busy")) for _ in range(3)]
    name = world.wait(need(cpu=2))
    found = turn(world, name)
    assert (found.position, found.waiting, found.limited) == (1, 4, 3)
    assert turn(world, held_back[1]).position == 2


def test_asking_for_a_place_changes_nothing() -> None:
    world = Queueing(node("n1", cpu=4))
    names = [world.wait(need(tenant)) for tenant in "aab"]
    before = [turn(world, name) for name in names]
    assert [turn(world, name) for name in names] == before
    assert not world.fleet.held
    assert turn_of("nobody", present(world)) is None
    assert outlook("nobody", present(world)) is None


# --- plans ---------------------------------------------------------------------------------------


def test_a_plan_stops_at_a_limit_and_says_which() -> None:
    limits = Limits(most={"tenant": {"a": 3}, "label:game": {"*": 2}})
    world = Queueing(node("n1", cpu=8), limits=limits)
    world.run("runs", "n1", need("a"))
    world.labelled = {("game", "doom"): 1}
    found = planned(world, need("a"), count=5)
    assert found.fitting == 2
    assert found.refused is not None
    assert (found.refused.reason, found.refused.verdicts) == ("LIMIT_REACHED", ())
    assert found.refused.summary == "tenant a has 3 of at most 3 pipelines"
    labelled = planned(world, need("b"), count=5, labels=[("game", "doom"), ("x", "y")])
    assert labelled.fitting == 1
    assert labelled.refused is not None
    assert labelled.refused.summary == "label game=doom has 2 of at most 2 pipelines"


def test_a_plan_leaves_alone_what_is_reserved_unless_its_class_is_higher() -> None:
    world = Queueing(node("n1", cpu=4), node("n2", cpu=2))
    world.run("runs", "n1", need("a", cpu=3))
    world.wait(need("b", cpu=4), "large")
    world.now += timedelta(minutes=6)
    found = planned(world, need("c"), count=9)
    assert found.fitting == 2
    assert found.refused is not None
    assert {one.code: one.count for one in found.refused.causes} == {
        "CPU_SHORT": 1,
        "NODE_RESERVED": 1,
    }
    (kept,) = [one.message for one in found.refused.verdicts if one.code == "NODE_RESERVED"]
    assert "reserved for large" in kept
    assert found.turn is not None
    assert (found.turn.waiting, found.queue_length) == (2, 1)


def test_a_higher_class_plans_with_what_is_reserved() -> None:
    world = Queueing(node("n1", cpu=4))
    world.run("runs", "n1", need("a", cpu=3))
    world.wait(need("b", cpu=4), "large")
    world.now += timedelta(minutes=6)
    assert planned(world, need("c"), priority=1).fitting == 1


def test_a_plan_serves_first_whoever_waits_and_fits() -> None:
    world = Queueing(node("n1", cpu=4))
    world.wait(need("b", cpu=3))
    world.wait(need("b", cpu=3), priority=-1)
    found = planned(world, need("c"), count=4)
    assert (found.fitting, found.served_before, found.queue_length) == (1, 1, 2)
    assert found.refused is not None
    assert [one.message for one in found.refused.verdicts] == ["has 0 of 1 cores free"]


def test_one_that_waits_hears_that_a_node_is_kept_for_it_or_fits() -> None:
    world = Queueing(node("n1", cpu=4))
    world.run("runs", "n1", need("a", cpu=3))
    world.wait(need("b", cpu=4), "large")
    world.now += timedelta(minutes=6)
    found = outlook("large", present(world))
    assert found is not None
    assert found.refused is not None
    assert found.refused.kept_node_id == "n1"
    assert found.refused.remedies[0].text == "free 3 cores on n1"
    world.end("runs")
    fits = outlook("large", present(world))
    assert fits is not None
    assert ([one.node_id for one in fits.placed], fits.refused) == (["n1"], None)


def test_what_is_reserved_for_one_is_not_told_as_its_own_limit() -> None:
    world = Queueing(node("n1", cpu=4), limits=Limits(most={"tenant": {"b": 1}}))
    world.run("runs", "n1", need("a", cpu=3))
    world.wait(need("b", cpu=4), "large")
    world.now += timedelta(minutes=6)
    world.wait(need("b", cpu=1), "small")
    found = outlook("large", present(world))
    assert found is not None
    assert found.refused is not None
    assert (found.refused.reason, found.refused.kept_node_id) == ("NO_CAPACITY", "n1")
    other = outlook("small", present(world))
    assert other is not None
    assert other.refused is not None
    said = "tenant b has 1 of at most 1 pipelines, with what large reserved"
    assert (other.refused.reason, other.refused.summary) == ("LIMIT_REACHED", said)
