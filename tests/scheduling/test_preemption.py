"""Preemption in a pass over the queue."""

from dataclasses import replace
from typing import Any

from gamepipe.scheduling.choose import Choice, Refusal
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order import Line, Waiting
from tests.scheduling.queueing import Queueing, need, node


def world(**policy: Any) -> Queueing:
    """Two nodes with two GPUs each, which four preemptible pipelines hold."""
    made = Queueing(node("n1", gpus=2), node("n2", gpus=2), **policy)
    for number in range(4):
        made.run(f"low-{number}", f"n{1 + number // 2}", need(gpus=1), preemptible=True)
    return made


def test_one_of_a_higher_class_waits_for_those_that_it_preempts() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    assert scene.serve() == []
    assert scene.leaving == {"low-0": "high", "low-1": "high"}
    assert scene.reserved == {"high": "n1"}
    line = scene.turns.refused[0]
    said = scene.turns.place(line)
    assert isinstance(said, Refusal)
    assert said.summary.startswith(
        "high waits for 2 pipelines to make room on node n1: low-0, low-1: none of 2 node(s) fits"
    )


def test_nobody_is_asked_twice_and_nobody_else_instead() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    scene.serve()
    assert scene.serve() == []
    assert scene.turns.preemptions == []
    assert set(scene.leaving) == {"low-0", "low-1"}


def test_what_has_left_waits_for_the_rest_though_a_smaller_one_would_fit() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    scene.serve()
    scene.wait(need(gpus=1), "small")
    scene.wait(need("other", gpus=1), "as-high", priority=5)
    scene.end("low-0")
    assert scene.serve() == []
    assert scene.leaving["low-1"] == "high"
    scene.end("low-1")
    assert scene.serve() == ["high"]
    assert scene.node_of("high") == "n1"


def test_a_newcomer_of_the_class_or_below_takes_none_of_it() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    scene.serve()
    scene.end("low-0")
    scene.serve()
    for priority in (0, 5):
        newcomer = Line(
            priority=priority,
            need=need("new", gpus=1),
            head=Waiting(pipeline_id="new", queued_at=scene.now),
        )
        assert isinstance(scene.turns.place(newcomer), Refusal)
    newcomer.priority = 6
    assert isinstance(scene.turns.place(newcomer), Choice)


def test_a_newcomer_that_is_refused_preempts_others_than_those_that_leave_already() -> None:
    scene = world()
    scene.wait(need(gpus=1), "high", priority=5)
    scene.serve()
    newcomer = Line(
        priority=5, need=need(gpus=1), head=Waiting(pipeline_id="new", queued_at=scene.now)
    )
    assert isinstance(scene.turns.place(newcomer), Refusal)
    said = scene.turns.make_room(newcomer)
    assert said.summary.startswith("new waits for 2 pipelines to make room on node n1")
    assert scene.leaving == {"low-0": "high", "low-1": "new"}


def test_whoever_waits_in_the_same_line_takes_the_room_that_is_ready_first() -> None:
    scene = world()
    scene.wait(need(gpus=1), "first", priority=5)
    scene.wait(need(gpus=1), "second", priority=5)
    scene.serve()
    line = Line(
        priority=5, need=need(gpus=1), head=Waiting(pipeline_id="second", queued_at=scene.now)
    )
    scene.turns.make_room(line)
    scene.claims["second"] = replace(scene.claims["first"], pipeline_id="second")
    scene.end("low-1")
    assert scene.serve() == ["first"]
    assert scene.turns.preemptions == []
    scene.end("low-0")
    assert scene.serve() == ["second"]
    assert scene.leaving == {}


def test_a_higher_class_takes_the_room_and_it_is_made_anew() -> None:
    scene = world()
    scene.wait(need(gpus=2), "high", priority=5)
    scene.serve()
    scene.wait(need(gpus=2), "higher", priority=9)
    scene.end("low-0")
    scene.end("low-1")
    assert scene.serve() == ["higher"]
    assert scene.leaving == {"low-2": "high", "low-3": "high"}


def test_equal_classes_and_those_that_did_not_offer_it_are_left_alone() -> None:
    scene = Queueing(node("n1", gpus=2))
    scene.run("firm", "n1", need(gpus=1))
    scene.run("equal", "n1", need(gpus=1), preemptible=True, priority=5)
    scene.wait(need(gpus=1), "high", priority=5)
    assert scene.serve() == []
    assert scene.leaving == {}


def test_one_that_is_over_a_limit_preempts_nobody() -> None:
    scene = world(limits=Limits(most={"tenant": {"default": 4}}))
    scene.wait(need(gpus=1), "high", priority=5)
    scene.wait(need("other", gpus=1), "other", priority=5)
    scene.serve()
    assert set(scene.leaving.values()) == {"other"}


def test_its_own_claim_does_not_count_against_its_limit() -> None:
    scene = world(limits=Limits(most={"tenant": {"other": 1}}))
    scene.wait(need("other", gpus=1), "high", priority=5)
    scene.serve()
    scene.end("low-0")
    assert scene.serve() == ["high"]


def test_a_fleet_may_do_without() -> None:
    scene = world(preemption=False)
    scene.wait(need(gpus=1), "high", priority=5)
    scene.serve()
    assert scene.leaving == {}
