"""Getting a node: waiting in the queue, offers, giving up."""

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest
from temporalio.client import WorkflowHandle

from gamepipe import searchattribute
from gamepipe.definition import parse_pipeline
from gamepipe.model.node import GpuFacts
from gamepipe.model.state import PipelineState
from gamepipe.notice import NoticeSender
from gamepipe.ports import PipelineChange
from gamepipe.wire import PlaceAnswer, PlaceRequest, PlaceStatus
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import now, register, until_stopped

FILE = """
name: placing
timeouts: {queue: QUEUE}
steps:
  - {name: only, type: command, command: "true"}
"""


async def test_without_a_node_it_waits_and_says_why(stack: Stack) -> None:
    handle = await stack.submit(FILE.replace("QUEUE", "1h"))

    async def waits() -> bool:
        return (await stack.record(handle)).reason == "NO_CAPACITY"

    await eventually(waits)
    record = await stack.record(handle)
    assert record.state is PipelineState.PENDING
    assert "no node" in record.message


async def test_a_node_that_joins_is_offered_to_who_waits(stack: Stack) -> None:
    handle = await stack.submit(FILE.replace("QUEUE", "1h"))

    async def waits() -> bool:
        return bool(await stack.store.placements.queue())

    await eventually(waits)
    node = await stack.node()
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert record.node_id == node.id


async def test_the_queue_has_a_timeout(stack: Stack) -> None:
    record = await stack.finish(await stack.submit(FILE.replace("QUEUE", "1s")))
    assert record.state is PipelineState.FAILED
    assert record.reason == "QUEUE_TIMEOUT"
    assert await stack.store.placements.queue() == ()


async def test_what_ends_makes_room_for_who_waits(stack: Stack) -> None:
    needs_all = FILE.replace("QUEUE", "1h") + "resources: {cpu: 64}\n"
    node = await stack.node(only=until_stopped)
    first = await stack.submit(needs_all)
    await node.started["only"].wait()
    second = await stack.submit(needs_all)

    async def waits() -> bool:
        return bool(await stack.store.placements.queue())

    await eventually(waits)
    node.behaviours.clear()
    await first.cancel()
    assert (await stack.finish(first)).state is PipelineState.CANCELED
    assert (await stack.finish(second)).state is PipelineState.COMPLETED


async def test_a_definition_changed_while_waiting_is_what_runs(stack: Stack) -> None:
    handle = await stack.submit(FILE.replace("QUEUE", "1h"))

    async def waits() -> bool:
        return bool(await stack.store.placements.queue())

    await eventually(waits)
    changed = parse_pipeline("""
name: changed
steps:
  - {name: uno, type: command, command: "true"}
  - {name: due, type: command, command: "true"}
""")
    record = await stack.record(handle)
    await stack.store.pipelines.update(
        record.id, PipelineChange(definition=replace(changed, id="")), now=now()
    )
    node = await stack.node()
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert node.names() == ["uno", "due"]
    assert [step.name for step in record.steps] == ["uno", "due"]


async def _queued(stack: Stack, pipeline_id: str = "") -> WorkflowHandle[object, object]:
    handle = await stack.submit(FILE.replace("QUEUE", "1h"), pipeline_id=pipeline_id)

    async def waits() -> bool:
        return (await stack.record(handle)).reason == "NO_CAPACITY"

    await eventually(waits)
    return handle


class Places:
    """Counts what is asked of the store, and can hold an answer back."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = stack.store.placements.place
        self.statuses: list[PlaceStatus] = []
        self.answered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        monkeypatch.setattr(stack.store.placements, "place", self.place)

    async def place(self, request: PlaceRequest, *, now: datetime) -> PlaceAnswer:
        answer = await self._place(request, now=now)
        self.statuses.append(answer.status)
        self.answered.set()
        await self.go_on.wait()
        return answer


async def test_an_offer_that_is_gone_is_asked_for_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = await _queued(stack)
    places = Places(stack, monkeypatch)
    notices = NoticeSender(stack.client)
    for expected in (1, 2, 3):
        await notices.ask_again(handle.id.removeprefix("pipeline-"), 1)
        await eventually(lambda expected=expected: len(places.statuses) >= expected)
    await handle.cancel()
    await stack.finish(handle)
    assert places.statuses == [PlaceStatus.QUEUED] * 3


async def test_an_offer_that_comes_while_the_store_answers_is_taken(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(stack, monkeypatch)
    places.go_on.clear()
    handle = await stack.submit(FILE.replace("QUEUE", "1h"))
    await places.answered.wait()
    node = await stack.node()
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    places.go_on.set()
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert record.node_id == node.id
    assert places.statuses == [PlaceStatus.QUEUED, PlaceStatus.PLACED]


async def _change(stack: Stack, handle: WorkflowHandle[object, object], text: str) -> None:
    record = await stack.record(handle)
    changed = replace(parse_pipeline(text), id="")
    await stack.store.pipelines.update(record.id, PipelineChange(definition=changed), now=now())


async def test_the_timeout_and_grace_of_a_changed_definition_count(stack: Stack) -> None:
    handle = await _queued(stack)
    await _change(
        stack,
        handle,
        """
name: changed
timeouts: {pipeline: 6s, grace: 7s}
steps:
  - {name: uno, type: command, command: "true"}
""",
    )
    node = await stack.node(uno=until_stopped)
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.FAILED, "PIPELINE_TIMEOUT")
    assert node.assignments[0].grace_seconds == 7


async def test_the_queue_timeout_of_a_changed_definition_counts(stack: Stack) -> None:
    handle = await _queued(stack)
    await _change(stack, handle, FILE.replace("QUEUE", "1s"))
    await NoticeSender(stack.client).ask_again(handle.id.removeprefix("pipeline-"), 1)
    record = await stack.finish(handle)
    assert (record.state, record.reason) == (PipelineState.FAILED, "QUEUE_TIMEOUT")


async def test_temporals_lists_show_a_pipeline_that_waits(stack: Stack) -> None:
    handle = await _queued(stack)
    await stack.listed_as(handle, "pending")
    shown = (await handle.describe()).typed_search_attributes
    assert shown[searchattribute.NAME] == "placing"
    assert shown[searchattribute.TENANT] == "default"
    await handle.cancel()
    await stack.finish(handle)


async def test_steps_beside_each_other_get_gpus_of_their_own(stack: Stack) -> None:
    deploy = "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 1}]}}}"
    node = await stack.node()
    cards = tuple(GpuFacts(index=index, model="L4") for index in (2, 3))
    await register(stack.store, node.id, gpus=cards)
    handle = await stack.submit(f"""
name: two games
steps:
  - {{name: prepare, type: command, command: "true"}}
  - {{name: one, type: service, needs: [prepare], container: {{image: a, {deploy}}}}}
  - {{name: two, type: service, needs: [prepare], container: {{image: a, {deploy}}}}}
""")
    assert (await stack.finish(handle)).state is PipelineState.COMPLETED
    given = {one.step.name: one.gpu_devices for one in node.assignments}
    assert given == {"prepare": (), "one": (2,), "two": (3,)}
