"""A node speaks for itself alone: of its own work, under its own session, to the run that asked."""

import grpc
import pytest

from gamepipe.model.record import EventKind
from gamepipe.v1 import node_pb2, step_pb2
from store.table import NodeRow
from store.transaction import Transaction
from tests.gateway.conftest import Gateway
from tests.reference.client import ReferenceNode, key_of, now
from tests.reference.test_moving import GAME
from tests.reference.test_node import ABORTED, OK, shown, submit
from tests.workflows.node import now as utc_now


@pytest.fixture
async def evil(gateway: Gateway, node: ReferenceNode):
    """Another node that is connected."""
    evil = ReferenceNode("evil")
    await gateway.http.patch("/nodes/ref", json={"labels": {"good": "yes"}})
    await evil.register(gateway.grpc_address)
    await evil.connect()
    yield evil
    await evil.leave()


async def on_ref(gateway: Gateway, pipeline_id: str) -> str:
    step = {"name": "one", "type": "command", "command": "true"}
    placed = {"name": "one", "placement": {"node": "ref"}, "steps": [step]}
    return await gateway.submit(placed, id=pipeline_id)


async def test_what_a_node_says_of_the_work_of_another_counts_for_nothing(
    gateway: Gateway, node: ReferenceNode, evil: ReferenceNode
) -> None:
    pipeline_id = await on_ref(gateway, "f1")
    work = await node.take()
    assert await node.running(work) == OK
    assert await evil.progress(work, 99.0, "evil") == ABORTED
    assert await evil.renew(work) == ABORTED
    assert await evil.end(work, "failed", reason="EVIL") == ABORTED
    bare = node_pb2.StepReported(key=key_of(work), kind="progress", at=now(), percent=98.0)
    assert await evil.ask(step_reported=bare) == ABORTED, "it names no work"
    assert await evil.log(work, "evil line") == 1, "acknowledged, so that it is not sent again"
    assert await node.log(work, "good line") == 1
    assert await node.end(work, log_lines=1) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    assert (await gateway.http.get(f"/pipelines/{pipeline_id}/logs")).text == "good line\n"


async def test_a_token_that_was_changed_is_none(gateway: Gateway, node: ReferenceNode) -> None:
    pipeline_id = await on_ref(gateway, "f2")
    work = await node.take()
    forged = node_pb2.Work()
    forged.CopyFrom(work)
    for place in (0, len(work.task_token) // 2, len(work.task_token) - 1):
        changed = bytearray(work.task_token)
        changed[place] ^= 1
        forged.task_token = bytes(changed)
        assert await node.end(forged) == ABORTED
    other = node_pb2.Work(task_token=work.task_token, run_step=work.run_step)
    other.run_step.attempt = 2
    assert await node.running(other) == ABORTED, "the token is of another attempt"
    assert await node.end(work) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


@pytest.mark.parametrize("wrong", [{"node_id": "evil"}, {"step_index": 1}, {"id": "f3.g1.s1"}])
async def test_a_node_leaves_no_game_but_that_of_its_step(
    gateway: Gateway, node: ReferenceNode, wrong: dict[str, object]
) -> None:
    pipeline_id = await gateway.submit(GAME, id="f3")
    work = await node.take()
    right: dict[str, object] = {
        "id": f"{pipeline_id}.g1.s0",
        "pipeline_id": pipeline_id,
        "generation": 1,
        "step_name": "game",
        "attempt": 1,
        "node_id": "ref",
        "state": "running",
    }
    assert await node.end(work, instance=step_pb2.Instance(**right | wrong)) == ABORTED  # type: ignore[arg-type]
    assert await node.cleaned(await node.take("clean_workspace")) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "failed"
    assert (await gateway.http.get("/instances")).json() == []


async def test_a_session_that_was_guessed_supersedes_nobody(
    gateway: Gateway, node: ReferenceNode, evil: ReferenceNode
) -> None:
    pipeline_id = await on_ref(gateway, "f4")
    work = await node.take()
    guesser = ReferenceNode("ref")
    for session, key, code in (
        (node.session, "", grpc.StatusCode.PERMISSION_DENIED),
        (node.session, evil.session_key, None),
        (node.session + 1, evil.session_key, grpc.StatusCode.FAILED_PRECONDITION),
    ):
        hello = node_pb2.Hello(node_id="ref", session=session, session_key=key)
        call = evil.stub.Connect()
        await call.write(node_pb2.ConnectRequest(hello=hello))
        if code is None:
            assert (await call.read()).HasField("superseded")
        else:
            assert await call.code() is code
        guesser.session, guesser.session_key, guesser.stub = session, key, evil.stub
        with pytest.raises((grpc.aio.AioRpcError, AttributeError)):
            await guesser.log(work, "guessed")
    assert await node.end(work) == OK, "its stream stands"
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


async def test_a_registration_that_is_repeated_costs_no_session(
    gateway: Gateway, node: ReferenceNode
) -> None:
    """Its answer was lost; the agent asks again with the same nonce."""
    again = ReferenceNode("ref")
    answers = [await again.register(gateway.grpc_address, nonce="n") for _ in range(3)]
    assert {(one.session, one.session_key) for one in answers} == {(2, answers[0].session_key)}
    await again.connect()
    await again.register(gateway.grpc_address, nonce="n")
    pipeline_id = await submit(gateway, "f5")
    assert await again.end(await again.take()) == OK, "its stream stands"
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    registered = await gateway.store.events.read(kinds=(EventKind.NODE_REGISTERED,))
    assert [event.data["session"] for event in registered] == [1, 2]
    other = await ReferenceNode("ref").register(gateway.grpc_address, nonce="m")
    assert other.session == 3
    await again.until(lambda message: message.HasField("superseded"))
    await again.leave()


async def test_an_old_run_of_a_pipeline_whose_id_is_used_again_has_no_say(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await on_ref(gateway, "f6")
    old = await node.take()
    assert await node.running(old) == OK
    await gateway.client.get_workflow_handle(f"pipeline-{pipeline_id}").terminate("by hand")
    await gateway.store.pipelines.delete(pipeline_id, force=True, now=utc_now())
    await node.until(lambda message: message.HasField("stop_order"))
    order = next(one.stop_order for one in node.heard if one.HasField("stop_order"))
    await node.say(stop_confirmed=node_pb2.StopConfirmed(order_id=order.order_id))
    await on_ref(gateway, "f6")
    new = await node.take()
    assert (new.run_step.attempt, key_of(new)) == (1, key_of(old))
    assert await node.running(old) == OK, "that very report was counted before"
    assert await node.progress(old, 77.0) == ABORTED
    assert await node.renew(old) == ABORTED
    assert await node.end(old) == ABORTED
    (step,) = (await shown(gateway, pipeline_id))["steps"]  # type: ignore[misc]
    assert (step["percent"], step["started_at"]) == (None, None)
    assert await node.running(new) == OK
    assert await node.end(new) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


async def test_a_store_that_is_restored_from_a_backup_makes_agents_register_anew(
    gateway: Gateway, node: ReferenceNode
) -> None:
    """It knows only of an older session: nobody has superseded the agent."""

    def restore(tx: Transaction) -> None:
        row = tx.session.get_one(NodeRow, "ref")
        row.session, row.session_key, row.nonce, row.stream = 0, "", "", 0
        tx.wake()

    await gateway.store._database.write(restore)
    await node.until_ended()
    assert not any(message.HasField("superseded") for message in node.heard)
    call = node.stub.Connect()
    await call.write(node_pb2.ConnectRequest(hello=node.hello()))
    assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
    await node.register(gateway.grpc_address)
    await node.connect()
    pipeline_id = await submit(gateway, "f7")
    assert await node.end(await node.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
