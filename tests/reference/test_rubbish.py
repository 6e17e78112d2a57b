"""One node that is broken or evil costs nobody else anything."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from gamepipe.logchunk import LogChunk
from gamepipe.model.errors import StoreUnavailable
from gamepipe.model.record import EventKind
from gamepipe.model.state import PipelineState
from gamepipe.ports import OfferMade
from gamepipe.v1 import node_pb2, node_pb2_grpc, step_pb2
from store.log import LogStore
from store.node import NodeStore
from tests.gateway.conftest import Gateway
from tests.reference.client import ReferenceNode, key_of
from tests.reference.test_node import ABORTED, OK, shown, submit
from tests.waiting import eventually
from tests.workflows.node import now

MANY = 10_000


async def test_numbers_that_are_none_cost_a_node_its_metrics_and_no_more(
    gateway: Gateway, node: ReferenceNode
) -> None:
    await node.say(sequence=1, heartbeat=node_pb2.Heartbeat(cpu_share=math.nan, running_steps=3))
    await node.until(lambda message: message.HasField("heartbeat_taken"))
    (seen,) = (await gateway.http.get("/nodes")).json()
    assert seen["metrics"]["cpu_share"] == 0
    for cpu in (math.nan, math.inf):
        facts = node_pb2.NodeFacts(cpu=cpu, memory_bytes=1)
        wrong = node_pb2.RegisterRequest(node_id="evil", facts=facts, protocol=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.stub.Register(wrong)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "facts.cpu" in (caught.value.details() or "")
    pipeline_id = await submit(gateway, "nan")
    assert await node.end(await node.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


async def test_an_end_of_another_kind_of_work_ends_nothing(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "kinds")
    work = await node.take()
    for end in (
        node_pb2.WorkEnded(cleaned=node_pb2.Cleaned()),
        node_pb2.WorkEnded(stop_answer=step_pb2.StopAnswer(was_running=True)),
        node_pb2.WorkEnded(step_result=step_pb2.StepResult(state="completed")),
    ):
        end.task_token = work.task_token
        assert await node.ask(work_ended=end) == ABORTED
    assert await node.end(work) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


@pytest.mark.parametrize(
    "wrong",
    [
        step_pb2.StepResult(state="mended"),
        step_pb2.StepResult(state="pending", ended_at=now()),
        step_pb2.StepResult(state="completed", ended_at=now(), message="half \0 a text"),
        step_pb2.StepResult(state="completed", ended_at=now(), log_lines=2**64 - 1),
    ],
    ids=["no state", "no end", "unstorable", "out of range"],
)
async def test_an_end_that_cannot_be_read_fails_the_attempt(
    gateway: Gateway, node: ReferenceNode, wrong: step_pb2.StepResult
) -> None:
    pipeline_id = await submit(gateway, "wrong")
    work = await node.take()
    await node.running(work)
    end = node_pb2.WorkEnded(task_token=work.task_token, key=key_of(work), step_result=wrong)
    await node.ask(work_ended=end)
    second = await node.take()
    assert second.run_step.attempt == 2
    assert await node.end(second) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    kinds = (EventKind.ATTEMPT_ENDED,)
    (ended,) = await gateway.store.events.read(pipeline_id=pipeline_id, kinds=kinds)
    assert ended.data["reason"] == "RUNNER_ERROR"


async def test_an_agent_that_reads_nothing_is_let_go_and_its_queue_left(
    gateway: Gateway, node: ReferenceNode
) -> None:
    """It goes on sending, and what answers it piles up until its window is full."""
    narrow = [("grpc.http2.bdp_probe", 0)]  # its window does not grow
    async with grpc.aio.insecure_channel(gateway.grpc_address, options=narrow) as channel:
        deaf = node_pb2_grpc.GameNodeServiceStub(channel).Connect()
        await deaf.write(node_pb2.ConnectRequest(hello=node.hello()))
        flooding = asyncio.create_task(flood(deaf))
        await asyncio.wait((flooding,), timeout=5)
        await node.connect(gateway.grpc_address)
        for number in range(3):
            pipeline_id = await submit(gateway, f"deaf{number}")
            work = await node.take()
            assert (work.run_step.dispatch, await node.end(work)) == (1, OK)
            assert (await gateway.ended(pipeline_id))["state"] == "completed"
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def flood(call: "grpc.aio.StreamStreamCall[Any, Any]") -> None:
    """Say what must be answered, and read no answer."""
    wrong = node_pb2.WorkEnded(task_token=b"x" * 100)
    for sequence in range(1, MANY):
        await call.write(node_pb2.ConnectRequest(sequence=sequence, work_ended=wrong))


async def test_a_chunk_that_cannot_be_stored_costs_nobody_elses_lines(
    gateway: Gateway, node: ReferenceNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = LogStore.append
    sizes: list[int] = []

    async def picky(self: LogStore, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
        sizes.append(len(chunks))
        if any(chunk.key.pipeline_id == "poison" for chunk in chunks):
            raise ZeroDivisionError
        return await append(self, chunks)

    monkeypatch.setattr(LogStore, "append", picky)
    pipeline_id = await submit(gateway, "lines")
    work = await node.take()
    assert await node.end(work, log_lines=4) == OK  # its lines follow
    await gateway.ended(pipeline_id)
    poison = node_pb2.Work(run_step=work.run_step)
    poison.run_step.pipeline_id = "poison"

    async def honest(first: int) -> None:
        assert await node.log(work, "a", "b", first=first) >= first

    async def evil() -> None:
        with pytest.raises((grpc.aio.AioRpcError, AttributeError, asyncio.InvalidStateError)):
            await node.log(poison, "x")

    await asyncio.gather(*(evil() for _ in range(5)), honest(1), *(evil() for _ in range(5)))
    await honest(3)
    assert max(sizes) > 1
    logs = await gateway.http.get(f"/pipelines/{pipeline_id}/logs")
    assert logs.text.split() == ["a", "b", "a", "b"]


async def test_a_confirmation_that_the_store_missed_is_asked_for_again(
    gateway: Gateway, node: ReferenceNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm, failures = NodeStore.confirm_stop, [StoreUnavailable("away")]

    async def hiccup(self: NodeStore, *order: Any, **more: Any) -> tuple[OfferMade, ...]:
        if failures:
            raise failures.pop()
        return await confirm(self, *order, **more)

    monkeypatch.setattr(NodeStore, "confirm_stop", hiccup)
    pipeline_id = await submit(gateway, "hiccup")
    await node.running(await node.take())
    await gateway.client.get_workflow_handle(f"pipeline-{pipeline_id}").terminate("by hand")
    await gateway.store.pipelines.update_status(
        pipeline_id, PipelineState.FAILED, reason="WORKFLOW_LOST", message="", now=now()
    )
    confirmed = 0

    async def done() -> bool:
        nonlocal confirmed
        orders = [one.stop_order for one in node.heard if one.HasField("stop_order")]
        for order in orders[confirmed:]:
            await node.say(stop_confirmed=node_pb2.StopConfirmed(order_id=order.order_id))
        confirmed = len(orders)
        return not (await gateway.http.get("/nodes/ref")).json()["stop_orders"]

    await eventually(done, what="the order to be confirmed")
    assert confirmed == 2


async def test_a_node_tells_only_of_its_own_games(gateway: Gateway, node: ReferenceNode) -> None:
    game = {
        "name": "game",
        "steps": [{"name": "game", "type": "service", "container": {"image": "games/one:1"}}],
    }
    pipeline_id = await gateway.submit(game, id="mine")
    work = await node.take()
    instance = step_pb2.Instance(
        id=f"{pipeline_id}.g1.s0",
        pipeline_id=pipeline_id,
        generation=1,
        step_name="game",
        attempt=1,
        node_id="ref",
        state="running",
    )
    assert await node.end(work, instance=instance) == OK
    await gateway.ended(pipeline_id)
    evil = ReferenceNode("evil")
    await evil.register(gateway.grpc_address)
    await evil.connect()
    told = node_pb2.InstanceObserved(instance_id=instance.id, state="exited")
    assert await evil.ask(instance_observed=told) == ABORTED
    assert (await gateway.http.get(f"/instances/{instance.id}")).json()["state"] == "running"
    assert await node.ask(instance_observed=told) == OK
    assert (await gateway.http.get(f"/instances/{instance.id}")).json()["state"] == "exited"
    assert (await shown(gateway, pipeline_id))["state"] == "completed"
    await evil.leave()
