"""What holds for any fleet, any requests and anything that happens to them."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling import standing
from gamepipe.scheduling.choose import Choice, Refusal, choose, verdicts
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Capacity
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling import worlds
from tests.scheduling.reference import World, suits
from tests.scheduling.worlds import Scene

property_of = settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def _one_promising_node_at_a_time() -> Iterator[None]:
    """So that small fleets too are worked out in several rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standing, "PROMISING", 1)
        yield


acts = st.lists(worlds.act, max_size=12)
acts_and_changes = st.lists(worlds.act | worlds.change, max_size=12)


def play(scene: Scene, act: tuple[str, Any]) -> None:
    match act:
        case ("place", need):
            scene.place(need)
        case ("release", place):
            scene.release(place)
        case ("change", (place, node)):
            scene.change(place, node)


def oversold(world: World) -> list[str]:
    """What is below zero anywhere, or held twice."""
    wrong = []
    for node in world.nodes.values():
        wrong += [f"{node.id}: {left}" for left in world.left(node) if left < 0]
        held_ports = [port for held in world.on(node.id) for port in held.host_ports]
        wrong += [f"{node.id}: ports {held_ports}"] * (len(held_ports) > len(set(held_ports)))
        for gpu in node.facts.gpus:
            holders, left = world.holders(node, gpu), world.device_left(node, gpu)
            alone = len(holders) <= 1 and (not holders or not world.is_shared(node, gpu))
            if min(left) < 0 or not alone:
                wrong.append(f"{node.id}, GPU {gpu.index}: {left}, {len(holders)} holder(s)")
    return wrong


def wrongly_given(world: World, need: Need, choice: Choice) -> list[str]:
    """Devices that are not of the node, do not suit, or are not as many as were asked for."""
    node, asked = world.nodes[choice.node_id], need.resources.gpu
    suitable = [gpu.index for gpu in node.facts.gpus if suits(gpu, asked)]
    wanted = len(suitable) if asked.count < 0 else asked.count or (not asked.is_empty)
    wrong = [f"GPU {index}" for index in choice.gpu_devices if index not in suitable]
    if len(set(choice.gpu_devices)) != wanted:
        wrong.append(f"{choice.gpu_devices} for {asked}")
    return wrong


@property_of
@given(scene=worlds.scenes, acts=acts)
def test_nothing_is_ever_sold_twice(scene: Scene, acts: list[tuple[str, Any]]) -> None:
    for act in acts:
        play(scene, act)
        assert not oversold(scene.world)


@property_of
@given(scene=worlds.scenes, needs=worlds.needs)
def test_a_pipeline_gets_the_devices_that_it_asked_for(scene: Scene, needs: list[Need]) -> None:
    for need in needs:
        choice = scene.place(need)
        assert choice is None or not wrongly_given(scene.world, need, choice)


@property_of
@given(scene=worlds.scenes, acts=acts_and_changes, needs=worlds.needs)
def test_a_node_fits_exactly_where_the_plain_rules_say_so(
    scene: Scene, acts: list[tuple[str, Any]], needs: list[Need]
) -> None:
    for act in acts:
        play(scene, act)
    for need in needs:
        fits = scene.world.fits(need)
        event(f"{len(fits)} nodes fit")
        assert sorted(scored.node_id for scored in scene.chooser.ranked(need)) == fits
        answer = scene.chooser.choose(need)
        assert isinstance(answer, Choice) == bool(fits)
        assert isinstance(answer, Refusal) or answer.node_id in fits


@property_of
@given(scene=worlds.scenes, acts=acts_and_changes, needs=worlds.needs)
def test_what_a_chooser_keeps_changes_no_answer(
    scene: Scene, acts: list[tuple[str, Any]], needs: list[Need]
) -> None:
    for act in acts:
        for need in needs:
            kept = scene.chooser.choose(need)
            assert kept == scene.fresh().choose(need) == scene.rebuilt().choose(need)
        play(scene, act)
    for need in needs:
        kept_ranks, ranks = scene.chooser.ranked(need), scene.rebuilt().ranked(need)
        assert [one.node_id for one in kept_ranks] == [one.node_id for one in ranks]


@property_of
@given(scene=worlds.scenes, acts=acts, need=worlds.need)
def test_the_first_of_the_ranked_nodes_is_the_choice(
    scene: Scene, acts: list[tuple[str, Any]], need: Need
) -> None:
    for act in acts:
        play(scene, act)
    answer, ranked = scene.chooser.choose(need), scene.rebuilt().ranked(need)
    assert [one.node_id for one in ranked[:1]] == (
        [answer.node_id] if isinstance(answer, Choice) else []
    )


@property_of
@given(scene=worlds.scenes, acts=acts, need=worlds.need)
def test_a_node_that_was_not_chosen_can_go_without_changing_the_choice(
    scene: Scene, acts: list[tuple[str, Any]], need: Need
) -> None:
    for act in acts:
        play(scene, act)
    choice = scene.chooser.choose(need)
    for node_id in scene.world.nodes:
        # What runs on a node counts for `spread`: it would go with the node.
        moves_others = need.placement.spread and scene.world.on(node_id)
        if isinstance(choice, Choice) and node_id != choice.node_id and not moves_others:
            assert scene.rebuilt(without=node_id).choose(need) == choice


@property_of
@given(scene=worlds.scenes, acts=acts_and_changes, need=worlds.need)
def test_reasons_and_nodes_that_fit_add_up_to_the_fleet(
    scene: Scene, acts: list[tuple[str, Any]], need: Need
) -> None:
    for act in acts:
        play(scene, act)
    said = verdicts(need, scene.chooser.snapshot)
    fits = scene.world.fits(need)
    assert sorted([*fits, *(verdict.node_id for verdict in said)]) == sorted(scene.world.nodes)
    answer = scene.chooser.choose(need)
    if isinstance(answer, Refusal):
        assert sum(answer.counts.values()) == len(scene.world.nodes)
    assert all(verdict.code and verdict.message for verdict in said)


@property_of
@given(
    thousandths=st.integers(1, 64_000),
    memory_bytes=st.integers(1, 1 << 40),
    hundredths=st.integers(1, 300),
)
def test_a_node_sells_all_that_it_has_and_not_a_bit_more(
    thousandths: int, memory_bytes: int, hundredths: int
) -> None:
    factor = hundredths / 100
    cards = (GpuFacts(index=0, model="L4", memory_bytes=memory_bytes),)
    facts = NodeFacts(
        cpu=thousandths / 1000, memory_bytes=memory_bytes, disk_bytes=memory_bytes, gpus=cards
    )
    capacity = Capacity(
        cpu_factor=factor, memory_factor=factor, disk_factor=factor, vram_factor=factor
    )
    fleet = Fleet([GameNode(id="n0", facts=facts)], capacity=capacity)
    millionths, bytes_ = thousandths * hundredths * 10, memory_bytes * hundredths // 100

    def fits(more: int) -> bool:
        asked = Resources(
            cpu=(millionths + more) / 1_000_000,
            memory_bytes=bytes_,
            disk_bytes=bytes_,
            gpu=GpuRequest(vram_bytes=bytes_),
        )
        return isinstance(choose(Need(resources=asked), Snapshot(fleet=fleet)), Choice)

    assert fits(0)
    assert not fits(1)
