"""Pipelines: created once, saved by their run only, changed and removed by the rules."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gamepipe.model.errors import AlreadyExists, Forbidden, IllegalTransition, NotFound
from gamepipe.model.record import (
    AttemptKey,
    EventKind,
    Instance,
    LogLine,
    LogStream,
    Progress,
)
from gamepipe.model.state import PipelineState, StepState
from gamepipe.ports import LogChunk, LogQuery, PipelineChange, PipelineFilter
from gamepipe.wire import PlaceStatus, SaveStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import (
    RUN,
    event,
    new,
    place_request,
    registration,
    save_request,
    spec,
    step,
)

LATER = NOW + timedelta(minutes=1)


async def test_a_pipeline_is_stored_once_with_its_steps(store: GamePipelineStore) -> None:
    record, created = await store.pipelines.add(new("p", labels={"team": "a"}), now=NOW)
    again, created_again = await store.pipelines.add(new("p", labels={"team": "a"}), now=LATER)
    assert (created, created_again) == (True, False)
    assert again == record == await store.pipelines.get("p")
    assert [s.state for s in record.steps] == [StepState.PENDING] * 2
    assert record.env_names == ("UNUSED", "USER")
    assert record.created_at == NOW
    with pytest.raises(AlreadyExists, match="other content"):
        await store.pipelines.add(new("p", name="another"), now=NOW)


async def test_what_is_not_there_is_not_found(store: GamePipelineStore) -> None:
    for call in (store.pipelines.get, store.pipelines.generations, store.nodes.get):
        with pytest.raises(NotFound):
            await call("nobody")
    with pytest.raises(NotFound):
        await store.instances.get("nobody")


async def test_a_save_changes_state_steps_and_events_together(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    running = step(0, state=StepState.RUNNING, attempt=1, started_at=NOW)
    ack, _ = await store.pipelines.save(
        save_request("p", 1, PipelineState.PENDING, steps=(running,)), now=LATER
    )
    record = await store.pipelines.get("p")
    assert ack.status is SaveStatus.SAVED
    assert (record.state, record.steps[0]) == (PipelineState.PENDING, running)
    kinds = [event.kind for event in await store.events.read(pipeline_id="p")]
    assert kinds == [EventKind.PIPELINE_CREATED, EventKind.PIPELINE_STATE_CHANGED]


async def test_a_repeated_save_is_stored_once(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    request = save_request("p", 1, PipelineState.PENDING)
    for _ in range(3):
        ack, _ = await store.pipelines.save(request, now=NOW)
        assert ack.status is SaveStatus.SAVED
    assert len(await store.events.read(pipeline_id="p")) == 2


async def test_a_run_that_does_not_own_the_row_changes_nothing(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    await store.pipelines.save(save_request("p", 1, PipelineState.PENDING), now=NOW)
    foreign = save_request("p", 9, PipelineState.RUNNING, run_id="run-2")
    ack, _ = await store.pipelines.save(foreign, now=NOW)
    assert ack.status is SaveStatus.STALE_RUN
    assert (await store.pipelines.get("p")).state is PipelineState.PENDING
    await store.pipelines.take_over("p", run_id="run-2", now=NOW)
    ack, _ = await store.pipelines.save(foreign, now=NOW)
    assert ack.status is SaveStatus.INCOMPLETE, "what the run before it did stands in the steps"
    whole = replace(foreign, complete=True, steps=(step(0), step(1)))
    ack, _ = await store.pipelines.save(whole, now=NOW)
    assert ack.status is SaveStatus.SAVED
    numbers = [e.number for e in await store.events.read(pipeline_id="p") if e.number]
    assert numbers == [1, 9]


async def test_a_terminal_or_deleted_row_stays_as_it_is(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    await store.pipelines.save(save_request("p", 1, PipelineState.PENDING), now=NOW)
    await store.pipelines.save(save_request("p", 2, PipelineState.CANCELED), now=NOW)
    late = save_request("p", 3, PipelineState.RUNNING)
    assert (await store.pipelines.save(late, now=NOW))[0].status is SaveStatus.CLOSED
    assert (await store.pipelines.get("p")).state is PipelineState.CANCELED
    await store.pipelines.delete("p", now=NOW)
    assert (await store.pipelines.save(late, now=NOW))[0].status is SaveStatus.DELETED
    assert (await store.pipelines.list(PipelineFilter())).total == 0


async def test_a_new_generation_keeps_the_steps_of_the_earlier_one(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p"), now=NOW)
    await store.placements.place(place_request("p"), now=NOW)
    done = step(0, state=StepState.COMPLETED, attempt=1)
    await store.pipelines.save(
        save_request("p", 3, PipelineState.RUNNING, steps=(done,), release=True), now=NOW
    )
    fresh = (step(0, generation=2), step(1, generation=2))
    second = save_request("p", 4, PipelineState.PENDING, generation=2, steps=fresh)
    await store.placements.place(
        place_request(
            "p",
            generation=2,
            saved=second,
            placed=save_request("p", 5, PipelineState.RUNNING, generation=2),
        ),
        now=LATER,
    )
    first, last = await store.pipelines.generations("p")
    assert first.steps[0] == done
    assert first.released_at == NOW
    assert last.steps == fresh == (await store.pipelines.get("p")).steps


async def test_values_go_only_to_the_node_that_holds_the_attempt(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p"), now=NOW)
    await store.placements.place(place_request("p"), now=NOW)
    where = {"generation": 1, "step_index": 0, "attempt": 1}
    envs, secrets = await store.pipelines.step_values("p", **where, node_id="n1")
    assert (envs, secrets) == ({"USER": "alice"}, {})
    for wrong in ({"node_id": "n2"}, {"node_id": "n1", "generation": 2}):
        with pytest.raises(Forbidden):
            await store.pipelines.step_values("p", **where | wrong)


async def test_values_of_a_replaced_attempt_are_refused(store: GamePipelineStore) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p"), now=NOW)
    await store.placements.place(place_request("p"), now=NOW)
    second = step(0, state=StepState.RUNNING, attempt=2)
    await store.pipelines.save(
        save_request("p", 3, PipelineState.RUNNING, steps=(second,)), now=NOW
    )
    with pytest.raises(Forbidden, match="is over"):
        await store.pipelines.step_values("p", generation=1, step_index=0, attempt=1, node_id="n1")


async def test_the_definition_changes_only_before_a_placement(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    changed = PipelineChange(definition=spec("other", priority=3), envs={"USER": "bob"})
    record, _ = await store.pipelines.update("p", changed, now=LATER)
    assert (record.name, record.priority, record.definition_revision) == ("other", 3, 2)
    assert record.env_names == ("USER",)
    await store.nodes.register(registration("n1"), now=NOW)
    answer = await store.placements.place(place_request("p"), now=NOW)
    assert answer.definition == record.spec
    with pytest.raises(IllegalTransition, match="definition stands"):
        await store.pipelines.update("p", changed, now=LATER)
    renamed, _ = await store.pipelines.update(
        "p", PipelineChange(name="new", labels={"a": "b"}), now=LATER
    )
    assert (renamed.name, renamed.labels) == ("new", {"a": "b"})


async def test_a_changed_definition_is_what_a_repeated_creation_is_compared_with(
    store: GamePipelineStore,
) -> None:
    first = new("p")
    second = replace(first, spec=spec(cpu=2.0), content_digest="of the second")
    await store.pipelines.add(first, now=NOW)
    changed = PipelineChange(definition=second.spec, content_digest=second.content_digest)
    record, _ = await store.pipelines.update("p", changed, now=NOW)
    assert await store.pipelines.add(second, now=NOW) == (record, False)
    with pytest.raises(AlreadyExists):
        await store.pipelines.add(first, now=NOW)


async def test_a_lost_workflow_fails_the_pipeline_and_frees_its_node(
    store: GamePipelineStore,
) -> None:
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p"), now=NOW)
    await store.placements.place(place_request("p"), now=NOW)
    running = step(0, state=StepState.RUNNING, attempt=1)
    await store.pipelines.save(
        save_request("p", 3, PipelineState.RUNNING, steps=(running,)), now=NOW
    )
    record, _ = await store.pipelines.update_status(
        "p", PipelineState.FAILED, reason="WORKFLOW_LOST", message="gone", now=LATER, run_id=RUN
    )
    assert [s.state for s in record.steps] == [StepState.FAILED, StepState.SKIPPED]
    assert record.progress == Progress(ended=2, total=2, percent=100.0)
    assert await store.placements.live_allocations() == ()
    (order,) = await store.nodes.stop_orders("n1")
    assert (order.pipeline_id, order.step_index) == ("p", None)
    assert (await store.nodes.get("n1")).stop_orders == 1


async def test_lists_filter_sort_and_page(store: GamePipelineStore) -> None:
    for number in range(5):
        labels = {"parity": "odd" if number % 2 else "even"}
        at = NOW + timedelta(seconds=number)
        await store.pipelines.add(new(f"p{number}", name=f"n{number}", labels=labels), now=at)
    page = await store.pipelines.list(PipelineFilter(size=2, page=2, sort_order="asc"))
    assert ([r.id for r in page.items], page.total) == (["p2", "p3"], 5)
    odd = await store.pipelines.list(PipelineFilter(labels={"parity": "odd"}, sort_by="name"))
    assert [r.id for r in odd.items] == ["p3", "p1"]
    late = await store.pipelines.list(PipelineFilter(start_time=NOW + timedelta(seconds=3)))
    assert late.total == 2
    assert (await store.pipelines.list(PipelineFilter(name="n4"))).items[0].id == "p4"


async def test_removal_takes_logs_and_spares_live_instances(store: GamePipelineStore) -> None:
    key = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
    line = LogLine(number=1, at=NOW, stream=LogStream.STDOUT, text="hello")
    service = Instance(
        id="p.g1.s1",
        pipeline_id="p",
        generation=1,
        step_index=1,
        step_name="game",
        attempt=1,
        node_id="n1",
    )
    await store.nodes.register(registration("n1"), now=NOW)
    await store.pipelines.add(new("p"), now=NOW)
    with pytest.raises(IllegalTransition, match="cancel it first"):
        await store.pipelines.delete("p", now=NOW)
    await store.placements.place(place_request("p"), now=NOW)
    await store.logs.append([LogChunk.of(key, [line])])
    await store.pipelines.save(
        save_request(
            "p", 3, PipelineState.COMPLETED, instances=(service,), release=True, ended_at=NOW
        ),
        now=NOW,
    )
    assert len(await store.placements.live_allocations()) == 1
    with pytest.raises(IllegalTransition, match="instance"):
        await store.pipelines.delete("p", force=True, now=NOW)
    assert await store.pipelines.cleanup(ended_before=LATER, limit=10, now=LATER) == 0
    from gamepipe.model.state import InstanceState

    await store.instances.observe("p.g1.s1", InstanceState.STOPPED, now=LATER)
    assert await store.placements.live_allocations() == ()
    assert await store.pipelines.cleanup(ended_before=LATER, limit=10, now=LATER) == 1
    assert [pair async for pair in store.logs.read(LogQuery(pipeline_id="p"))] == []
    kinds = [event.kind for event in await store.events.read(pipeline_id="p")]
    assert kinds[-1] is EventKind.PIPELINE_DELETED
    assert (await store.logs.append([LogChunk.of(key, [line])])) == (1,)


async def test_a_closed_pipeline_is_not_placed(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    await store.pipelines.update_status(
        "p", PipelineState.CANCELED, reason="CANCELED", message="", now=NOW
    )
    answer = await store.placements.place(place_request("p"), now=NOW)
    assert answer.status is PlaceStatus.CLOSED


async def test_a_number_that_the_same_run_tells_anew_means_what_it_says_now(
    store: GamePipelineStore,
) -> None:
    """A workflow task was repeated behind new signals."""
    await store.pipelines.add(new("p1"), now=NOW)
    early = replace(event(1), data={"state": "completed"})
    late = [replace(event(1), data={"percent": 50}), replace(event(2), data={"state": "completed"})]
    for revision, events in ((1, [early]), (2, late)):
        request = save_request("p1", revision, PipelineState.PENDING)
        await store.pipelines.save(replace(request, events=tuple(events)), now=NOW)
    told = [one.data for one in await store.events.read(pipeline_id="p1") if one.number]
    assert told == [{"percent": 50}, {"state": "completed"}]
