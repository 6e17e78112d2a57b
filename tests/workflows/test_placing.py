"""Getting a node: waiting in the queue, offers, giving up."""

from dataclasses import replace

from gamepipe.model.node import GpuFacts
from gamepipe.model.state import PipelineState
from gamepipe.offer import OfferSender
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
    await OfferSender(stack.client).send(await stack.store.placements.offer(now=now()))
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
    from gamepipe.definition import parse_pipeline
    from gamepipe.ports import PipelineChange

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
    await OfferSender(stack.client).send(await stack.store.placements.offer(now=now()))
    record = await stack.finish(handle)
    assert record.state is PipelineState.COMPLETED
    assert node.names() == ["uno", "due"]
    assert [step.name for step in record.steps] == ["uno", "due"]


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
