"""The queue in the store: its order, its limits, what is reserved; and that whatever frees is
offered at once."""

from datetime import timedelta
from typing import Any

import pytest

from gamepipe.model import reason as reasons
from gamepipe.model.errors import QueueFull
from gamepipe.model.record import Instance
from gamepipe.model.state import Connectivity, InstanceState, PipelineState
from gamepipe.ports import PipelineChange
from gamepipe.scheduling.limit import Limits
from gamepipe.wire import PlaceStatus, WithdrawRequest
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.queueing import names, ordered, place, wait_all
from tests.store.shapes import LIFE, new, place_request, registration, save_request

LATER = NOW + timedelta(minutes=6)


async def end(store: GamePipelineStore, name: str, **more: Any) -> list[str]:
    """The pipeline completes; to whom its room is offered."""
    done = save_request(name, 3, PipelineState.COMPLETED, release=True, **more)
    _, offers = await store.pipelines.save(done, now=LATER)
    return names(offers)


async def test_a_flood_of_one_tenant_delays_no_other(store_url: str) -> None:
    async with ordered(store_url, tenant_weights={"vip": 2}) as store:
        await wait_all(store, *(f"flood-{n}" for n in range(6)), "late-1", "vip-1", "vip-2")
        await store.nodes.register(registration("n1", cpu=4), now=NOW)
        offers = names(await store.placements.offer(now=NOW))
        assert offers == ["flood-0", "late-1", "vip-1", "vip-2"]


async def test_games_that_a_tenant_left_running_count_as_its_share(store_url: str) -> None:
    async with ordered(store_url) as store:
        await store.nodes.register(registration("n1", cpu=3), now=NOW)
        for number in range(2):
            await place(store, f"a-run{number}", tenant="a")
        await place(store, "b-run", tenant="b")
        await wait_all(store, "a-1", "b-1")
        game = Instance(
            id="game", pipeline_id="a-run0", generation=1, step_index=1, step_name="unpack",
            attempt=1, node_id="n1", started_at=NOW,
        )  # fmt: skip
        assert await end(store, "a-run0", instances=(game,)) == []
        assert await end(store, "b-run") == ["b-1"]
        _, offers = await store.instances.observe("game", InstanceState.EXITED, now=LATER)
        assert await store.placements.untaken_offers() != ()
        orders = await store.nodes.stop_orders("n1")
        offers += await store.nodes.confirm_stop(orders[0].id, node_id="n1", now=LATER)
        assert names(offers) == ["a-1"]


async def test_limits_hold_back_by_tenant_template_and_label_and_say_so(store_url: str) -> None:
    limits = Limits(most={"tenant": {"a": 1}, "template": {"t": 1}, "label:game": {"*": 1}})
    async with ordered(store_url, limits=limits) as store:
        await store.nodes.register(registration("n1"), now=NOW)
        shapes: tuple[dict[str, Any], ...] = (
            {"tenant": "a"},
            {"model": "t"},
            {"labels": {"game": "doom"}},
        )
        for number, shape in enumerate(shapes):
            placed = await place(store, f"p{number}", **shape)
            assert placed.status is PlaceStatus.PLACED
            held_back = await place(store, f"q{number}", **shape)
            assert (held_back.status, held_back.reason) == (
                PlaceStatus.QUEUED,
                reasons.LIMIT_REACHED,
            )
            assert "1 of at most 1" in held_back.summary
            record = await store.pipelines.get(f"q{number}")
            assert (record.reason, record.message) == (held_back.reason, held_back.summary)
        assert (await place(store, "free", labels={"game": "quake"})).status is PlaceStatus.PLACED
        for number in range(3):
            assert await end(store, f"p{number}") == [f"q{number}"]


async def test_a_label_that_changes_frees_its_limit(store_url: str) -> None:
    async with ordered(store_url, limits=Limits(most={"label:game": {"*": 1}})) as store:
        await store.nodes.register(registration("n1"), now=NOW)
        for name in ("running", "waiting"):
            await place(store, name, labels={"game": "doom"})
        change = PipelineChange(labels={"game": "quake"})
        _, offers = await store.pipelines.update("running", change, now=NOW)
        assert names(offers) == ["waiting"]


async def test_a_longer_queue_than_is_set_is_refused_at_creation(store_url: str) -> None:
    async with ordered(store_url, longest_queue=2) as store:
        for name in ("a-1", "a-2"):
            await store.pipelines.add(new(name, tenant="a"), now=NOW)
        with pytest.raises(QueueFull, match="2 pipelines of tenant 'a' wait already"):
            await store.pipelines.add(new("a-3", tenant="a"), now=NOW)
        await store.pipelines.add(new("b-1", tenant="b"), now=NOW)
        _, created = await store.pipelines.add(new("a-1", tenant="a"), now=NOW)
        assert not created  # a repeated request is answered
        await store.nodes.register(registration("n1"), now=NOW)
        assert (await place(store, "a-1", tenant="a")).status is PlaceStatus.PLACED
        _, created = await store.pipelines.add(new("a-3", tenant="a"), now=NOW)
        assert created


async def reserved(store: GamePipelineStore) -> None:
    """`large` has waited for long; one of two small ones has ended, and nobody took its room."""
    await store.nodes.register(registration("n1", cpu=2), now=NOW)
    for name in ("one", "two"):
        await place(store, name)
    await wait_all(store, "large", cpu=2.0, tenant="default")
    assert await end(store, "one") == []


async def test_a_newcomer_does_not_take_what_is_reserved(store_url: str) -> None:
    async with ordered(store_url) as store:
        await reserved(store)
        answer = await place(store, "new", at=400)
        assert answer.status is PlaceStatus.QUEUED
        assert "reserved for large" in answer.summary
        entry = await store.placements.queue_entry("new")
        assert entry is not None
        assert [verdict.code for verdict in entry.verdicts] == ["NODE_RESERVED"]
        found = await store.placements.outlook("new", now=LATER)
        assert found is not None
        assert found.refused is not None
        assert [cause.code for cause in found.refused.causes] == ["NODE_RESERVED"]
        wait = "wait for the pipeline that n1 is kept for"
        assert [remedy.text for remedy in found.refused.remedies] == [wait]
        assert await end(store, "two") == ["large"]


async def test_a_higher_class_takes_what_a_lower_one_has_reserved(store_url: str) -> None:
    async with ordered(store_url) as store:
        await reserved(store)
        assert (await place(store, "new", at=400, priority=1)).status is PlaceStatus.PLACED


@pytest.mark.parametrize("how", ["withdrawn", "deleted", "lost"])
async def test_what_was_reserved_is_offered_when_nobody_waits_for_it(
    store_url: str, how: str
) -> None:
    async with ordered(store_url) as store:
        await reserved(store)
        await place(store, "small", at=400)
        match how:
            case "withdrawn":
                withdrawal = WithdrawRequest(pipeline_id="large", incarnation=LIFE, generation=1)
                offers = await store.placements.withdraw(withdrawal, now=LATER)
            case "deleted":
                offers = await store.pipelines.delete("large", force=True, now=LATER)
            case _:
                _, offers = await store.pipelines.update_status(
                    "large", PipelineState.FAILED, reason="X", message="", now=LATER
                )
        assert names(offers) == ["small"]


async def test_a_priority_that_changes_is_served_at_once(store_url: str) -> None:
    async with ordered(store_url) as store:
        await reserved(store)
        await place(store, "small", at=400)
        change = PipelineChange(priority=1)
        _, offers = await store.pipelines.update("small", change, now=LATER)
        assert names(offers) == ["small"]


async def test_a_node_that_has_told_of_its_last_game_is_offered(store_url: str) -> None:
    async with ordered(store_url) as store:
        await store.nodes.register(registration("n1", cpu=2), now=NOW)
        await place(store, "p")
        game = Instance(
            id="game", pipeline_id="p", generation=1, step_index=1, step_name="unpack",
            attempt=1, node_id="n1", started_at=NOW,
        )  # fmt: skip
        await end(store, "p", instances=(game,))
        await store.nodes.mark("n1", Connectivity.LOST, now=NOW)
        await store.nodes.register(registration("n1", cpu=2), now=NOW)
        assert "INSTANCES_UNACCOUNTED" in (await place(store, "q")).summary
        _, offers = await store.instances.observe("game", InstanceState.RUNNING, now=NOW)
        assert names(offers) == ["q"]


async def test_who_asks_again_while_it_waits_keeps_its_turn(store_url: str) -> None:
    async with ordered(store_url) as store:
        await wait_all(store, "old", "young", tenant="default")
        await store.nodes.register(registration("n1", cpu=1), now=NOW)
        answer = await store.placements.place(place_request("young", revision=3), now=NOW)
        assert answer.status is PlaceStatus.QUEUED
        assert names(await store.placements.untaken_offers()) == ["old"]
        answer = await store.placements.place(place_request("old", revision=3), now=NOW)
        assert answer.status is PlaceStatus.PLACED


async def test_those_who_wait_hear_why_as_things_are_now(store_url: str) -> None:
    async with ordered(store_url) as store:
        await wait_all(store, *(f"default-{number}" for number in range(3)), cpu=4.0)
        await store.nodes.register(registration("n1", cpu=2), now=NOW)
        assert await store.placements.offer(now=NOW, telling=True) == ()
        for entry in await store.placements.queue():
            assert "has 2 of 4 cores free" in entry.summary
            assert [verdict.code for verdict in entry.verdicts] == ["CPU_SHORT"]
            record = await store.pipelines.get(entry.pipeline_id)
            assert (record.reason, record.message) == (reasons.NO_CAPACITY, entry.summary)
