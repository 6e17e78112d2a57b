"""Ten and more shapes of pipeline; `make histories` records each, CI replays the committed ones."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from gamepipe.definition import parse_pipeline
from gamepipe.model.record import Instance
from gamepipe.model.state import Connectivity
from gamepipe.notice import NoticeSender
from gamepipe.ports import PipelineChange
from gamepipe.wire import (
    CancelOrder,
    NodeBack,
    NodeLost,
    Offer,
    ReportKind,
    StepAssignment,
    StepResult,
)
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import (
    ScriptedNode,
    done,
    failed,
    fails,
    not_delivered,
    now,
    until_stopped,
)

Handle = WorkflowHandle[object, object]
Shape = Callable[[Stack], Awaitable[Handle]]
STEP = "type: command, command: 'true'"


def _file(*steps: str, head: str = "") -> str:
    lines = "\n".join(f"  - {{{step}, {STEP}}}" for step in steps)
    return f"name: shape\n{head}\nsteps:\n{lines}\n"


async def _fail(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    return failed(3)


async def service_up(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
    instance = Instance(
        id=f"{assignment.pipeline_id}.g1.s{assignment.step.index}",
        pipeline_id=assignment.pipeline_id,
        generation=1,
        step_index=assignment.step.index,
        step_name=assignment.step.name,
        attempt=1,
        node_id=node.id,
        started_at=now(),
    )
    return done(instance=instance)


async def success(stack: Stack) -> Handle:
    await stack.node()
    return await stack.submit(_file("name: one", "name: two", "name: three"))


async def failure(stack: Stack) -> Handle:
    await stack.node(one=_fail)
    return await stack.submit(_file("name: one", "name: two"))


async def retry(stack: Stack) -> Handle:
    await stack.node(one=fails(2))
    return await stack.submit(_file("name: one, retry: {max_attempts: 3, initial: 0.01}"))


async def cancel(stack: Stack) -> Handle:
    node = await stack.node(one=until_stopped)
    handle = await stack.submit(_file("name: one", "name: two", "name: tidy, always: true"))
    await node.started["one"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="shape", grace_seconds=1))
    await handle.cancel(reason="shape")
    return handle


async def timeout(stack: Stack) -> Handle:
    await stack.node(one=until_stopped)
    return await stack.submit(_file("name: one", head="timeouts: {pipeline: 1s}"))


async def node_lost(stack: Stack) -> Handle:
    async def silent(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await asyncio.Event().wait()
        return done()

    first = await stack.node(two=silent)
    handle = await stack.submit(_file("name: one", "name: two", head="on_node_lost: reschedule"))
    await first.started["two"].wait()
    await stack.node()
    await stack.store.nodes.mark(first.id, Connectivity.LOST, now=now())
    await handle.signal("node_lost", NodeLost(node_id=first.id, generation=1))
    return handle


async def graph(stack: Stack) -> Handle:
    await stack.node()
    return await stack.submit(
        _file("name: a", "name: b, needs: [a]", "name: c, needs: [a]", "name: d, needs: [b, c]")
    )


async def always(stack: Stack) -> Handle:
    await stack.node(one=_fail)
    return await stack.submit(_file("name: one", "name: two", "name: tidy, always: true"))


async def service(stack: Stack) -> Handle:
    await stack.node(game=service_up)
    return await stack.submit("""
name: shape
steps:
  - {name: prepare, type: command, command: "true"}
  - {name: game, type: service, container: {image: game}}
""")


async def service_stopped(stack: Stack) -> Handle:
    """A service of a pipeline that fails later is stopped."""
    await stack.node(game=service_up, after=_fail)
    return await stack.submit("""
name: shape
steps:
  - {name: game, type: service, container: {image: game}}
  - {name: after, type: command, command: "false"}
""")


async def skipped(stack: Stack) -> Handle:
    await stack.node()
    return await stack.submit(_file("name: one, if: failure()", "name: two"))


async def redispatched(stack: Stack) -> Handle:
    await stack.node(one=not_delivered)
    return await stack.submit(_file("name: one"))


async def queue_timeout(stack: Stack) -> Handle:
    return await stack.submit(_file("name: one", head="timeouts: {queue: 1s}"))


async def _queued(stack: Stack, text: str) -> Handle:
    handle = await stack.submit(text)

    async def waits() -> bool:
        return (await stack.record(handle)).reason == "NO_CAPACITY"

    await eventually(waits)
    return handle


async def offer(stack: Stack) -> Handle:
    """Waits in the queue, asks once in vain, then takes an offer."""
    handle = await _queued(stack, _file("name: one", "name: two"))
    asked = await stack.history_length(handle)
    await handle.signal("offer_placement", Offer(generation=1))

    async def asked_again() -> bool:
        return await stack.history_length(handle) >= asked + 4

    await eventually(asked_again)
    await stack.node()
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    return handle


async def changed_definition(stack: Stack) -> Handle:
    """Another file, with another timeout, which the run meets."""
    handle = await _queued(stack, _file("name: one", head="timeouts: {pipeline: 1h}"))
    changed = parse_pipeline(_file("name: other", head="timeouts: {pipeline: 1s, grace: 2s}"))
    record = await stack.record(handle)
    change = PipelineChange(definition=replace(changed, id=""))
    await stack.store.pipelines.update(record.id, change, now=now())
    await stack.node(other=until_stopped)
    await NoticeSender(stack.client).send(await stack.store.placements.offer(now=now()))
    return handle


async def wait(stack: Stack) -> Handle:
    """The node dies, is waited for, and comes back."""

    async def dies_once(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        if assignment.dispatch == 1:
            await asyncio.Event().wait()
        return done()

    stack.with_settings(heartbeat_seconds=0.5)
    node = await stack.node(two=dies_once)
    node.mute.add(("two", 1))
    handle = await stack.submit(_file("name: one", "name: two", head="on_node_lost: wait"))
    await node.started["two"].wait()
    await handle.signal("node_lost", NodeLost(node_id=node.id, generation=1))

    async def pauses() -> bool:
        kind = EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
        return any([event.event_type == kind async for event in handle.fetch_history_events()])

    await eventually(pauses)
    await handle.signal("node_back", NodeBack(node_id=node.id, generation=1))
    return handle


async def cancel_under_always(stack: Stack) -> Handle:
    gate = asyncio.Event()

    async def tidies(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        await node.report(assignment, ReportKind.RUNNING)
        await gate.wait()
        return done()

    node = await stack.node(tidy=tidies)
    handle = await stack.submit(_file("name: tidy, always: true", "name: never"))
    await node.started["tidy"].wait()
    await handle.signal("cancel_pipeline", CancelOrder(reason="shape"))
    await handle.cancel(reason="shape")

    async def canceling() -> bool:
        return (await stack.record(handle)).reason == "CANCELING"

    await eventually(canceling)
    gate.set()
    return handle


async def lost_then_failed(stack: Stack) -> Handle:
    first = await stack.node("a-lost", one=until_stopped)
    handle = await stack.submit(_file("name: one", head="on_node_lost: reschedule"))
    await first.started["one"].wait()
    await stack.node("b-left", one=_fail)
    await stack.store.nodes.mark(first.id, Connectivity.LOST, now=now())
    await handle.signal("node_lost", NodeLost(node_id=first.id, generation=1))
    return handle


async def preempted(stack: Stack) -> Handle:
    """Makes room under a step and a service that comes up nevertheless, and runs again."""

    async def comes_up(node: ScriptedNode, assignment: StepAssignment) -> StepResult:
        if assignment.generation > 1:
            return done()
        await node.report(assignment, ReportKind.RUNNING)
        await node.stopping(assignment).wait()
        return await service_up(node, assignment)

    node = await stack.node(game=comes_up)
    handle = await stack.submit("""
name: shape
resources: {cpu: 64}
placement: {preemptible: true}
steps:
  - {name: prepare, type: command, command: "true"}
  - {name: game, type: service, container: {image: game}}
  - {name: tidy, type: command, command: "true", always: true}
""")
    await node.started["game"].wait()
    await stack.submit(_file("name: one", head="priority: 1\nresources: {cpu: 64}"))
    return handle


SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        success,
        failure,
        retry,
        cancel,
        timeout,
        node_lost,
        graph,
        always,
        service,
        service_stopped,
        skipped,
        redispatched,
        queue_timeout,
        offer,
        changed_definition,
        wait,
        cancel_under_always,
        lost_then_failed,
        preempted,
    )
}
