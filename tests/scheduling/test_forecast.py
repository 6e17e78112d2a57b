"""Where copies of a pipeline would go, what stops the next one, and how a choice is explained."""

import pytest

from gamepipe.model.forecast import Forecast, MadeRoom, Placed
from gamepipe.model.node import NodeMetrics
from gamepipe.model.spec import GpuRequest
from gamepipe.model.state import Connectivity
from gamepipe.scheduling.choose import Choice, Chooser, Refusal
from gamepipe.scheduling.forecast import MOST_PREEMPTING, forecast, newcomer
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.present import Present
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling.queueing import Queueing, need, node
from tests.scheduling.shapes import a_need, a_node, a_snapshot, holding
from tests.store.shapes import NOW


def planned(need: Need, snapshot: Snapshot, *, count: int = 1) -> Forecast:
    """With nobody else in the queue."""
    present = Present(chooser=Chooser(snapshot), now=NOW)
    return forecast(newcomer(need, present), present, count=count)


def test_copies_fill_the_fleet_until_one_does_not_fit() -> None:
    snapshot = a_snapshot(a_node("n1"), a_node("n2", cpu=4), a_node("n3", cpu=1))
    found = planned(a_need(cpu=2), snapshot, count=10)
    assert (found.asked, found.fitting, found.nodes) == (10, 6, 3)
    assert set(found.placed) == {Placed(node_id="n1", count=4), Placed(node_id="n2", count=2)}
    assert found.refused is not None
    (cause,) = found.refused.causes
    assert (cause.code, cause.count) == ("CPU_SHORT", 3)
    assert [one.node_id for one in found.refused.verdicts] == ["n1", "n2", "n3"]
    assert [one.text for one in found.refused.remedies] == [
        "free 2 cores on any of n1 and n2",
        "ask for 1 core instead of 2: then n3 fits",
    ]


def test_copies_that_all_fit_meet_no_refusal() -> None:
    found = planned(a_need(cpu=2), a_snapshot(a_node("n1")), count=4)
    assert (found.fitting, found.refused) == (4, None)


@pytest.mark.parametrize(
    ("need", "fitting"),
    [
        (a_need(host_ports=("tcp/80",)), 2),
        (a_need(gpu=GpuRequest(count=1)), 3),
        (a_need(gpu=GpuRequest(share=0.5)), 6),
        (a_need(gpu=GpuRequest(encoders=2)), 3),
        (a_need(spread="node", spread_most=2, template="t"), 4),
    ],
)
def test_ports_devices_and_limits_of_the_copies_count(need: Need, fitting: int) -> None:
    snapshot = a_snapshot(a_node("n1", gpus=2), a_node("n2", gpus=1))
    assert planned(need, snapshot, count=50).fitting == fitting


def test_the_causes_add_up_to_the_fleet() -> None:
    lost = [a_node(f"l{number}", connectivity=Connectivity.LOST) for number in range(3)]
    found = planned(a_need(cpu=9), a_snapshot(*lost, a_node("n1")))
    assert found.refused is not None
    assert [(one.code, one.count) for one in found.refused.causes] == [
        ("NODE_NOT_ONLINE", 3),
        ("CPU_SHORT", 1),
    ]
    assert found.first is None


def test_no_fleet_refuses_with_what_to_do() -> None:
    found = planned(a_need(), a_snapshot())
    assert found.refused is not None
    assert (found.refused.causes, found.nodes) == ((), 0)
    assert "gamepipe agent" in found.refused.summary


def test_an_explanation_names_the_chosen_node_first_and_its_terms_add_up() -> None:
    busy = a_node("busy", metrics=NodeMetrics(cpu_share=0.9))
    chooser = Chooser(a_snapshot(busy, a_node("calm"), a_node("small", cpu=1)))
    need = a_need(cpu=2, spread="node", template="t")
    why = chooser.explain(need)
    assert (why.nodes, why.candidates) == (3, 2)
    assert [one.node_id for one in why.ranked] == ["calm", "busy"]
    assert chooser.choose(need) == Choice(node_id="calm")
    assert why.ranked[1].terms["load"] > why.ranked[0].terms["load"]
    for one in why.ranked:
        assert sum(one.terms.values()) == pytest.approx(one.cost, abs=1e-5)


def test_the_first_ranked_is_always_the_one_that_is_chosen() -> None:
    nodes = [a_node(f"n{number}", cpu=8 + number % 3) for number in range(20)]
    snapshot = a_snapshot(*nodes)
    chooser, need = Chooser(snapshot), a_need(cpu=3)
    for number in range(40):
        ranked, chosen = chooser.explain(need).ranked, chooser.choose(need)
        assert isinstance(chosen, Choice)
        assert ranked[0].node_id == chosen.node_id
        everything = chooser.ranked(need)
        assert [one.node_id for one in everything[: len(ranked)]] == [one.node_id for one in ranked]
        snapshot.fleet.hold(holding(chosen.node_id, number, cpu=3.0))
    assert isinstance(chooser.choose(a_need(cpu=30)), Refusal)
    assert chooser.explain(a_need(cpu=30)).ranked == ()


def test_a_choice_is_explained_as_it_was_made_whatever_is_held_since() -> None:
    snapshot = a_snapshot(*(a_node(f"n{number}") for number in range(3)))
    chooser, need = Chooser(snapshot), a_need(cpu=1)
    before = chooser.ranked(need)
    chosen = chooser.choose(need, {0: "is kept"})
    snapshot.fleet.hold(holding(before[1].node_id, 1, cpu=1.0))
    why = chooser.explain_last()
    assert isinstance(chosen, Choice)
    assert (why.nodes, why.candidates) == (3, 2)
    assert [one.node_id for one in why.ranked] == [one.node_id for one in before[1:]]
    assert why.ranked[0].node_id == chosen.node_id
    assert why.ranked[0].cost == round(before[1].cost, 6)


# --- by preemption -------------------------------------------------------------------------------


def world(**policy: object) -> Queueing:
    """Two nodes of two GPUs; one is free, those on three may be preempted."""
    made = Queueing(node("n1", gpus=2), node("n2", gpus=2), **policy)
    for name, where in (("a", "n1"), ("b", "n1"), ("c", "n2")):
        made.run(name, where, need(gpus=1), preemptible=True)
    return made


def asked(scene: Queueing, wanted: Need, *, count: int = 1, priority: int = 5) -> Forecast:
    scene.turns.lift()
    present = Present(
        chooser=scene.chooser,
        lineup=scene.lineup,
        policy=scene.policy,
        claims=tuple(scene.claims.values()),
        now=scene.now,
    )
    return forecast(newcomer(wanted, present, priority=priority), present, count=count)


def test_copies_that_fit_nowhere_tell_whom_they_would_preempt() -> None:
    found = asked(world(), need(gpus=1), count=5)
    assert (found.fitting, found.placed) == (1, (Placed(node_id="n2", count=1),))
    assert found.preempting == (
        MadeRoom(node_id="n1", count=2, victims=("a", "b")),
        MadeRoom(node_id="n2", count=1, victims=("c",)),
    )
    assert found.refused is not None
    assert found.refused.causes[0].code == "GPU_SHORT"
    assert found.turn is not None


def test_copies_share_the_room_that_one_victim_leaves() -> None:
    scene = Queueing(node("n1", cpu=8))
    scene.run("large", "n1", need(cpu=8), preemptible=True)
    found = asked(scene, need(cpu=3), count=4)
    assert found.preempting == (MadeRoom(node_id="n1", count=2, victims=("large",)),)


def test_those_that_leave_already_are_told_beside_whom_it_would_preempt() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    scene.serve()
    assert scene.leaving == {"c": "high"}
    found = asked(scene, need(gpus=2), count=2, priority=9)
    assert found.preempting == (
        MadeRoom(node_id="n2", count=1, victims=(), leaving=("c",)),
        MadeRoom(node_id="n1", count=1, victims=("a", "b")),
    )


@pytest.mark.parametrize(
    ("policy", "priority"),
    [
        ({"preemption": False}, 5),
        ({}, 0),
        ({"limits": Limits(most={"tenant": {"default": 4}})}, 5),
    ],
    ids=["off", "equal", "limit"],
)
def test_nobody_is_told_who_would_not_be_preempted(
    policy: dict[str, object], priority: int
) -> None:
    found = asked(world(**policy), need(gpus=1), count=3, priority=priority)
    assert (found.fitting, found.preempting) == (1, ())


def test_copies_preempt_up_to_their_limit() -> None:
    scene = world(limits=Limits(most={"tenant": {"other": 2}}))
    found = asked(scene, need("other", gpus=1), count=4)
    assert (found.fitting, found.preempting) == (
        1,
        (MadeRoom(node_id="n1", count=1, victims=("a",)),),
    )


def test_of_many_copies_that_could_only_preempt_some_are_looked_at() -> None:
    scene = Queueing(node("n1", cpu=1000))
    scene.run("large", "n1", need(cpu=1000), preemptible=True)
    (made,) = asked(scene, need(cpu=1), count=500).preempting
    assert made.count == MOST_PREEMPTING


# --- a full queue --------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "refused"), [(0, 5), (1, 2), (3, 0), (None, 0)])
def test_copies_that_would_not_be_created_are_counted(left: int | None, refused: int) -> None:
    present = Present(
        chooser=Chooser(a_snapshot(a_node("n1", cpu=4))),
        policy=OrderPolicy(longest_queue=7),
        left_in_queue=left,
        now=NOW,
    )
    found = forecast(newcomer(a_need(cpu=2), present), present, count=5)
    assert (found.fitting, found.queue_full) == (0 if left == 0 else 2, refused)
    assert found.refused is not None
    assert (found.refused.reason == "QUEUE_FULL") == (left == 0)
    if left == 0:
        assert found.refused.summary.startswith("7 pipelines of tenant 'default' wait already")
