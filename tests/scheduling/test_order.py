"""Who is served next: classes, shares, age; what is limited; what is reserved."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gamepipe.model import reason as reasons
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.choose import Choice, Refusal
from gamepipe.scheduling.dominance import dominant
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Line, Waiting
from tests.scheduling.queueing import Queueing, need, node

LATER = timedelta(minutes=6)


def tenants(names: list[str]) -> list[str]:
    return [name.partition("-")[0] for name in names]


def test_a_higher_class_comes_first_and_age_decides_within_it() -> None:
    world = Queueing(node("n1", cpu=3))
    for name, priority in (("old", 0), ("high", 5), ("young", 0), ("low", -1)):
        world.wait(need(), name, priority=priority)
    assert world.serve() == ["high", "old", "young"]


def test_tenants_take_turns_by_what_they_hold_for_their_weight() -> None:
    world = Queueing(node("n1", cpu=7), tenant_weights={"big": 4, "mid": 2, "*": 1})
    for tenant in ("small", "mid", "big"):
        for _ in range(7):
            world.wait(need(tenant))
    granted = tenants(world.serve())
    assert Counter(granted) == {"small": 1, "mid": 2, "big": 4}
    assert granted[:3] == ["small", "mid", "big"]


def test_what_a_tenant_holds_already_counts_against_it() -> None:
    world = Queueing(node("n1", cpu=4))
    world.run("held", "n1", need("flood", cpu=2.0))
    for tenant in ("flood", "flood", "late", "late"):
        world.wait(need(tenant))
    assert tenants(world.serve()) == ["late", "late"]


def test_the_dominant_share_decides_whatever_it_is_of() -> None:
    world = Queueing(node("n1", cpu=100, gpus=4))
    part = Need(resources=Resources(gpu=GpuRequest(share=0.5)), tenant="gpu")
    world.run("game", "n1", part)  # 1/8 of the GPUs
    world.run("job", "n1", need("cpu", cpu=12.0))  # 12 % of the cores
    fleet = world.chooser.snapshot.fleet
    assert [dominant(tenant, fleet) for tenant in ("gpu", "cpu")] == [(0.125, 3), (0.12, 0)]
    world.end("game")
    assert dominant("gpu", fleet)[0] == 0


def test_one_that_fits_nowhere_blocks_nobody() -> None:
    world = Queueing(node("n1", cpu=4))
    world.wait(need(cpu=64.0), "huge")
    world.wait(need("other"), "fits")
    assert world.serve() == ["fits"]
    assert [line.head.pipeline_id for line in world.turns.refused] == ["huge"]


def test_what_does_not_fit_is_looked_at_once_for_all_who_ask_for_it() -> None:
    world = Queueing(node("n1", cpu=1))
    world.run("held", "n1", need())
    for number in range(5000):
        world.wait(need(f"tenant{number % 50}"))
    asked: list[Need] = []
    find = world.chooser.find
    world.chooser.find = lambda *given: (asked.append(given[0]), find(*given))[1]  # type: ignore
    assert world.serve() == []
    assert len(asked) == 1


def test_a_limit_holds_back_those_that_it_names_and_nobody_else() -> None:
    limits = Limits(most={"tenant": {"acme": 2, "*": 50}, "template": {"slow": 1}})
    world = Queueing(node("n1", cpu=64), limits=limits)
    for tenant in ("acme", "acme", "acme", "other"):
        world.wait(need(tenant))
    for _ in range(2):
        world.wait(need("third", template="slow"))
    assert sorted(tenants(world.serve())) == ["acme", "acme", "other", "third"]
    said = {line.need.tenant: world.turns.place(line) for line in world.turns.refused}
    assert {one.reason for one in said.values() if isinstance(one, Refusal)} == {
        reasons.LIMIT_REACHED
    }
    assert said["acme"].summary == "tenant acme has 2 of at most 2 pipelines"  # type: ignore
    assert said["third"].summary == "template slow has 1 of at most 1 pipelines"  # type: ignore


def test_a_label_s_limit_counts_what_is_placed_in_the_pass() -> None:
    world = Queueing(node("n1", cpu=64), limits=Limits(most={"label:game": {"*": 3}}))
    world.labelled = {("game", "doom"): 2}
    for _ in range(2):
        world.wait(need(), labels=(("game", "doom"),))
    quake = world.wait(need(), labels=(("game", "quake"),))
    unlabelled = world.wait(need())
    assert world.serve() == ["default-1", quake, unlabelled]
    refused = world.turns.place(world.turns.refused[0])
    assert isinstance(refused, Refusal)
    assert refused.summary == "label game=doom has 3 of at most 3 pipelines"


def busy(world: Queueing, *nodes: str, tenant: str = "default") -> None:
    """Two small pipelines on each node with two cores."""
    for name in nodes:
        for number in range(2):
            world.run(f"{name}.{number}", name, need(tenant))


def test_after_its_wait_a_large_one_keeps_a_node_from_smaller_ones() -> None:
    world = Queueing(node("n1", cpu=2), node("n2", cpu=2))
    busy(world, "n1", "n2")
    large = world.wait(need(cpu=2.0), "large")
    world.now += LATER
    small = [world.wait(need()) for _ in range(3)]
    world.end("n1.0")
    assert world.serve() == []
    assert world.reserved == {large: "n1"}
    world.end("n2.0")  # that one is nobody's
    assert world.serve() == [small[0]]
    world.end("n1.1")
    assert world.serve() == [large]
    assert (world.node_of(large), world.reserved) == ("n1", {})


def test_before_its_wait_is_over_small_ones_pass_it() -> None:
    world = Queueing(node("n1", cpu=2))
    busy(world, "n1")
    world.wait(need(cpu=2.0), "large")
    small = world.wait(need())
    world.end("n1.0")
    assert world.serve() == [small]


def test_a_higher_class_may_use_what_a_lower_one_has_reserved() -> None:
    world = Queueing(node("n1", cpu=2))
    busy(world, "n1")
    world.wait(need(cpu=2.0), "large")
    world.now += LATER
    world.wait(need(), "urgent", priority=1)
    world.end("n1.0")
    assert world.serve() == ["urgent"]


def test_as_many_nodes_are_reserved_as_are_set_one_for_each_tenant() -> None:
    world = Queueing(*(node(f"n{n}", cpu=2) for n in range(6)), reservations=3)
    busy(world, *(f"n{n}" for n in range(6)))
    for tenant in ("a", "a", "b", "c", "d"):
        world.wait(need(tenant, cpu=2.0))
    world.now += LATER
    assert world.serve() == []
    assert world.reserved == {"a-1": "n0", "b-3": "n1", "c-4": "n2"}


def test_what_would_fit_on_no_node_reserves_none() -> None:
    world = Queueing(node("n1", cpu=2))
    busy(world, "n1")
    world.wait(need(cpu=3.0), "huge")
    world.now += LATER
    world.serve()
    assert world.reserved == {}


def test_the_node_that_lacks_the_least_is_reserved() -> None:
    world = Queueing(node("n1", cpu=8, gpus=4), node("n2", cpu=8, gpus=4), node("n3", cpu=4))
    for number in range(3):
        world.run(f"x{number}", "n1", need(gpus=1))
    world.run("y", "n2", need(gpus=1))
    whole = world.wait(need(gpus=4), "whole")
    world.now += LATER
    world.serve()
    assert world.reserved == {whole: "n2"}


def test_a_tenant_pays_for_its_reservation_with_its_share() -> None:
    """Else its own small ones would take what frees elsewhere, and its turn never come first."""
    world = Queueing(node("n1", cpu=4), node("n2", cpu=4))
    world.run("x", "n1", need("third", cpu=2.0))
    world.run("y", "n2", need("third", cpu=3.0))
    world.wait(need("a", cpu=4.0), "large")
    world.now += LATER
    world.wait(need("a"), "a-small")
    world.wait(need("b"), "b-small")
    assert world.serve() == ["b-small"]


def newcomer(asked: Need, priority: int = 0) -> Line:
    return Line(
        priority=priority,
        need=asked,
        head=Waiting(pipeline_id="new", queued_at=Queueing().now + LATER),
    )


def test_a_newcomer_takes_no_node_that_is_reserved() -> None:
    world = Queueing(node("n1", cpu=2))
    busy(world, "n1")
    world.wait(need(cpu=2.0), "large")
    world.now += LATER
    world.end("n1.0")
    world.serve()
    refused = world.turns.place(newcomer(need("other")))
    assert isinstance(refused, Refusal)
    assert refused.counts == {"NODE_RESERVED": 1}
    assert "reserved for large" in refused.summary
    assert isinstance(world.turns.place(newcomer(need("other"), priority=1)), Choice)


def test_a_pass_over_the_same_queue_gives_the_same_answer() -> None:
    def granted() -> list[str]:
        world = Queueing(node("n1", cpu=5), node("n2", cpu=6), tenant_weights={"a": 2})
        for number in range(30):
            world.wait(need("abc"[number % 3], cpu=1.0 + number % 2), priority=number % 4 // 3)
        world.now += LATER
        return [*world.serve(), *world.reserved]

    assert granted() == granted()


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from((1.0, 2.0, 5.0)),
        st.integers(0, 2),
        st.integers(0, 1),
    ),
    max_size=30,
)


@given(entries=ENTRIES, old=st.booleans())
def test_whoever_still_waits_behind_a_pass_fits_nowhere(
    entries: list[tuple[str, float, int, int]], old: bool
) -> None:
    world = Queueing(node("n1", cpu=4, gpus=2), node("n2", cpu=6, gpus=1), reservations=1)
    for tenant, cpu, gpus, priority in entries:
        world.wait(need(tenant, cpu=cpu, gpus=gpus), priority=priority)
    world.now += LATER * old
    granted = world.serve()
    assert len(granted) + len(world.lineup) == len(entries)
    waiting = world.lineup.lines()
    assert {id(line.head) for line in waiting} == {id(line.head) for line in world.turns.refused}
    assert all(isinstance(world.turns.place(line), Refusal) for line in waiting)
    world.turns.lift()
    assert {one.pipeline_id for one in world.fleet.held.values()} == set(granted)
    assert (world.fleet.left >= 0).all()
