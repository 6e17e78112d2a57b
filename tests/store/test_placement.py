"""Placements: nothing is sold twice, the queue keeps its order, what frees is offered."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gamepipe.model.node import NodeMetrics
from gamepipe.model.record import Instance
from gamepipe.model.spec import Match, PlacementRequest
from gamepipe.model.state import Connectivity, InstanceState, NodeState, PipelineState
from gamepipe.ports import NodeChange, PipelineChange
from gamepipe.wire import PlaceAnswer, PlaceStatus, WithdrawRequest
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import LIFE, new, place_request, registration, save_request, spec


async def place(store: GamePipelineStore, pipeline_id: str, **shape: object) -> PlaceAnswer:
    await store.pipelines.add(new(pipeline_id, **shape), now=NOW)
    return await store.placements.place(place_request(pipeline_id), now=NOW)


def node_of(answer: PlaceAnswer) -> str:
    assert answer.placement is not None, answer.summary
    return answer.placement.node_id


async def test_a_node_that_is_in_use_is_filled_and_the_answer_stands(
    store: GamePipelineStore,
) -> None:
    for name in ("n1", "n2"):
        await store.nodes.register(registration(name, cpu=2), now=NOW)
    first = await place(store, "p1")
    others = [node_of(await place(store, name)) for name in ("p2", "p3")]
    assert (node_of(first), others) == ("n1", ["n1", "n2"])
    again = await store.placements.place(place_request("p1"), now=NOW)
    assert again == first
    record = await store.pipelines.get("p1")
    assert (record.state, record.node_id) == (PipelineState.RUNNING, "n1")
    states = [e.data.get("node_id") for e in await store.events.read(pipeline_id="p1")]
    assert states == [None, None, "n1"]


async def test_a_node_that_is_busy_by_its_own_measure_comes_last(store: GamePipelineStore) -> None:
    sessions = [
        (await store.nodes.register(registration(n), now=NOW)).session for n in ("n1", "n2")
    ]
    await store.nodes.heartbeat([("n1", sessions[0], NodeMetrics(cpu_share=0.9))], now=NOW)
    assert node_of(await place(store, "p1")) == "n2"


async def test_gpu_devices_are_held_one_by_one(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", gpus=2), now=NOW)
    devices = [(await place(store, f"p{n}", gpus=1)).placement for n in range(2)]
    assert [placement and placement.gpu_devices for placement in devices] == [(0,), (1,)]
    third = await place(store, "p3", gpus=1)
    assert third.status is PlaceStatus.QUEUED
    assert "0 of 1 GPU(s) free" in third.summary


async def test_a_queued_pipeline_says_why_and_is_offered_what_frees(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await place(store, "p1")
    assert (await place(store, "p2")).status is PlaceStatus.QUEUED
    entry = await store.placements.queue_entry("p2")
    assert entry is not None
    assert [verdict.code for verdict in entry.verdicts] == ["CPU_SHORT"]
    record = await store.pipelines.get("p2")
    assert (record.state, record.reason) == (PipelineState.PENDING, "NO_CAPACITY")
    done = save_request("p1", 3, PipelineState.COMPLETED, release=True)
    _, (offer,) = await store.pipelines.save(done, now=NOW)
    assert (offer.pipeline_id, offer.generation, offer.node_id) == ("p2", 1, "n1")
    assert await store.placements.untaken_offers() == (offer,)
    taken = await store.placements.place(place_request("p2", revision=3), now=NOW)
    assert node_of(taken) == "n1"
    assert await store.placements.untaken_offers() == ()
    assert await store.placements.queue() == ()


async def test_an_offer_that_is_withdrawn_goes_to_the_next(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    for number in (1, 2, 3):
        await place(store, f"p{number}")
    await store.placements.release("p1", 1, now=NOW)
    withdrawal = WithdrawRequest(pipeline_id="p2", incarnation=LIFE, generation=1)
    (offer,) = await store.placements.withdraw(withdrawal, now=NOW)
    assert offer.pipeline_id == "p3"
    assert await store.placements.withdraw(withdrawal, now=NOW) == ()


@pytest.mark.parametrize("how", ["lost", "maintenance", "suspect"])
async def test_an_offer_of_a_node_that_takes_nothing_new_goes_back_to_its_place_in_the_queue(
    store: GamePipelineStore, how: str
) -> None:
    for number in (1, 2):
        await store.pipelines.add(new(f"p{number}"), now=NOW)
        at = NOW + timedelta(seconds=number)
        await store.placements.place(place_request(f"p{number}"), now=at)
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    (offer,) = await store.placements.offer(now=NOW + timedelta(minutes=1))
    assert (offer.pipeline_id, offer.node_id) == ("p1", "n1")
    if how == "maintenance":
        await store.nodes.update("n1", NodeChange(state=NodeState.MAINTENANCE), now=NOW)
    else:
        await store.nodes.mark("n1", Connectivity(how), now=NOW)
    answer = await store.placements.place(place_request("p1", revision=3), now=NOW)
    assert answer.status is PlaceStatus.QUEUED
    queue = [(e.pipeline_id, e.queued_at) for e in await store.placements.queue()]
    assert queue == [(f"p{number}", NOW + timedelta(seconds=number)) for number in (1, 2)]
    assert await store.placements.untaken_offers() == ()
    await store.nodes.register(registration("n2", cpu=1), now=NOW)
    (offer,) = await store.placements.offer(now=NOW)
    assert (offer.pipeline_id, offer.node_id) == ("p1", "n2")


async def test_a_lost_node_s_offer_is_made_of_another_node_at_once(
    store: GamePipelineStore,
) -> None:
    await place(store, "p1")
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await store.placements.offer(now=NOW)
    await store.nodes.register(registration("n2", cpu=1), now=NOW)
    await store.nodes.mark("n1", Connectivity.LOST, now=NOW)
    (offer,) = await store.placements.untaken_offers()
    assert (offer.pipeline_id, offer.node_id) == ("p1", "n2")
    taken = await store.placements.place(place_request("p1", revision=3), now=NOW)
    assert node_of(taken) == "n2"


async def test_one_pass_over_the_queue_sells_nothing_twice(store: GamePipelineStore) -> None:
    for number in range(6):
        await place(store, f"p{number}", gpus=1)
    for name in ("n1", "n2"):
        await store.nodes.register(registration(name, gpus=2), now=NOW)
    offers = await store.placements.offer(now=NOW)
    assert [offer.pipeline_id for offer in offers] == ["p0", "p1", "p2", "p3"]
    held = await store.placements.live_allocations()
    assert len({(one.node_id, one.gpu_devices) for one in held}) == 4


async def test_priority_then_age_orders_the_queue(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    await place(store, "running")
    for number, priority in enumerate((0, 5, 0)):
        await store.pipelines.add(new(f"q{number}", priority=priority), now=NOW)
        at = NOW + timedelta(seconds=number)
        await store.placements.place(place_request(f"q{number}"), now=at)
    assert [e.pipeline_id for e in await store.placements.queue()] == ["q1", "q0", "q2"]
    (offer,) = await store.placements.release("running", 1, now=NOW)
    assert offer.pipeline_id == "q1"


async def test_a_newcomer_never_passes_one_that_waits_and_fits(store: GamePipelineStore) -> None:
    assert (await place(store, "old")).status is PlaceStatus.QUEUED
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    assert (await place(store, "young")).status is PlaceStatus.QUEUED
    (offer,) = await store.placements.untaken_offers()
    assert offer.pipeline_id == "old"


async def test_a_smaller_definition_is_offered_at_once(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", cpu=2), now=NOW)
    assert (await place(store, "p", cpu=4.0)).status is PlaceStatus.QUEUED
    smaller = PipelineChange(definition=spec(cpu=2.0))
    _, (offer,) = await store.pipelines.update("p", smaller, now=NOW)
    assert offer.pipeline_id == "p"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (PlacementRequest(node="n9"), "NODE_PINNED"),
        (PlacementRequest(region="moon"), "REGION_DIFFERS"),
        (PlacementRequest(match=(Match(key="disk", op="in", values=("hdd",)),)), "MATCH_FAILED"),
        (PlacementRequest(match=(Match(key="rank", op=">", values=("7",)),)), "MATCH_FAILED"),
        (PlacementRequest(forbid=(Match(key="disk", op="exists"),)), "FORBIDDEN"),
    ],
)
async def test_requests_that_no_node_meets_wait(
    store: GamePipelineStore, request_: PlacementRequest, code: str
) -> None:
    labels = {"disk": "ssd", "rank": "7"}
    await store.nodes.register(registration("n1", labels=labels), now=NOW)
    assert (await place(store, "p", placement=request_)).status is PlaceStatus.QUEUED
    entry = await store.placements.queue_entry("p")
    assert entry is not None
    assert [verdict.code for verdict in entry.verdicts] == [code]


async def test_only_normal_online_nodes_take_pipelines(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.nodes.update("n1", NodeChange(state=NodeState.MAINTENANCE), now=NOW)
    assert "NODE_NOT_NORMAL" in (await place(store, "p1")).summary
    await store.nodes.update("n1", NodeChange(state=NodeState.NORMAL), now=NOW)
    await store.nodes.mark("n1", Connectivity.SUSPECT, now=NOW)
    assert "NODE_NOT_ONLINE" in (await place(store, "p2")).summary


async def test_an_unreachable_node_keeps_its_allocation_until_it_confirms(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await place(store, "p")
    unreachable = save_request(
        "p", 3, PipelineState.CANCELED, release=True, hold_for_node=True, node_id="n1"
    )
    await store.pipelines.save(unreachable, now=NOW)
    assert len(await store.placements.live_allocations()) == 1
    assert "STOP_UNCONFIRMED" in (await place(store, "p2")).summary
    (order,) = await store.nodes.stop_orders("n1")
    (offer,) = await store.nodes.confirm_stop(order.id, node_id="n1", now=NOW)
    assert offer.pipeline_id == "p2"
    assert [held.pipeline_id for held in await store.placements.live_allocations()] == ["p2"]
    assert await store.nodes.confirm_stop(order.id, node_id="n1", now=NOW) == ()


async def test_a_lost_node_frees_what_waited_for_it(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await place(store, "p")
    held = save_request(
        "p", 3, PipelineState.CANCELED, release=True, hold_for_node=True, node_id="n1"
    )
    await store.pipelines.save(held, now=NOW)
    await store.nodes.mark("n1", Connectivity.LOST, now=NOW)
    assert await store.placements.live_allocations() == ()
    assert len(await store.nodes.stop_orders("n1")) == 1


async def test_instances_hold_their_node_until_they_end(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1", gpus=1), now=NOW)
    await place(store, "p", gpus=1)
    game = Instance(
        id="p.g1.s1",
        pipeline_id="p",
        generation=1,
        step_index=1,
        step_name="game",
        attempt=1,
        node_id="n1",
        started_at=NOW,
    )
    end = save_request("p", 3, PipelineState.COMPLETED, instances=(game,), release=True)
    await store.pipelines.save(end, now=NOW)
    for state in (InstanceState.UNHEALTHY, InstanceState.RUNNING, InstanceState.RUNNING):
        instance, _ = await store.instances.observe(game.id, state, now=NOW)
        assert instance.state is state
    assert len(await store.placements.live_allocations()) == 1
    ended, _ = await store.instances.observe(
        game.id, InstanceState.EXITED, exit_code=3, message="crashed", now=NOW
    )
    assert (ended.exit_code, ended.ended_at) == (3, NOW)
    assert await store.placements.live_allocations() == ()
    (order,) = await store.nodes.stop_orders("n1")  # what is left of it is removed
    assert (order.pipeline_id, order.generation) == ("p", 1)
    await store.nodes.confirm_stop(order.id, node_id="n1", now=NOW)
    late, _ = await store.instances.observe(game.id, InstanceState.RUNNING, now=NOW)
    assert late.state is InstanceState.EXITED
    assert await store.instances.list(live_only=True) == ()
    assert replace(ended) in await store.instances.list(node_id="n1")


async def test_a_newer_session_of_a_node_supersedes_the_older(store: GamePipelineStore) -> None:
    first = await store.nodes.register(registration("n1"), now=NOW)
    second = await store.nodes.register(registration("n1", cpu=4), now=NOW)
    assert (first.session, second.session, second.facts.cpu) == (1, 2, 4)
    beats = [("n1", 1, first.metrics), ("nobody", 1, first.metrics)]
    assert set(await store.nodes.heartbeat(beats, now=NOW)) == {"n1", "nobody"}
    later = NOW + timedelta(seconds=5)
    assert await store.nodes.heartbeat([("n1", 2, first.metrics)], now=later) == ()
    assert (await store.nodes.get("n1")).last_seen_at == later
