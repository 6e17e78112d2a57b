"""A node that knows only the schemas takes part in everything, and loses nothing."""

import asyncio

import grpc

from gamepipe.v1 import node_pb2
from tests.gateway.conftest import Gateway
from tests.reference.client import ReferenceNode, key_of
from tests.waiting import eventually

OK, ABORTED = node_pb2.OUTCOME_OK, node_pb2.OUTCOME_ABORTED
ONE = {
    "name": "one",
    "envs": ["TOKEN"],
    "steps": [
        {
            "name": "one",
            "type": "command",
            "command": "echo ${{ envs.TOKEN }}",
            "outputs": ["size"],
            "retry": {"max_attempts": 2, "initial": "100ms"},
        }
    ],
}


async def submit(gateway: Gateway, pipeline_id: str) -> str:
    return await gateway.submit(ONE, id=pipeline_id, envs={"TOKEN": "s3cr3t"})


async def shown(gateway: Gateway, pipeline_id: str) -> dict[str, object]:
    return dict((await gateway.http.get(f"/pipelines/{pipeline_id}")).json())


async def test_it_takes_a_step_with_its_values_reports_and_ends_it(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r1")
    work = await node.take()
    assert work.run_step.step.command == "echo ${{ envs.TOKEN }}"
    assert dict(work.values.envs) == {"TOKEN": "s3cr3t"}
    assert work.run_step.clean_after
    assert await node.running(work) == OK
    assert await node.progress(work, 40.0, "half way") == OK
    assert await node.log(work, "first", "second") == 2

    async def told() -> bool:
        (step,) = (await shown(gateway, pipeline_id))["steps"]  # type: ignore[misc]
        return bool(step["percent"] == 40.0)

    await eventually(told, what="the progress")
    assert await node.end(work, outputs={"size": "7"}, log_lines=2) == OK
    record = await gateway.ended(pipeline_id)
    assert record["state"] == "completed"
    assert record["steps"][0]["outputs"] == {"size": "7"}  # type: ignore[index]
    logs = await gateway.http.get(f"/pipelines/{pipeline_id}/logs")
    assert logs.text == "first\nsecond\n"


async def test_an_end_that_was_not_answered_counts_once_however_often_it_comes(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r2")
    work = await node.take()
    await node.running(work)
    assert [await node.end(work, outputs={"size": "1"}) for _ in range(3)] == [OK, OK, OK]
    record = await gateway.ended(pipeline_id)
    assert record["state"] == "completed"
    assert await node.end(work, "failed", reason="LATE") == ABORTED
    assert (await shown(gateway, pipeline_id))["state"] == "completed"


async def test_reports_of_an_older_attempt_are_aborted_and_change_nothing(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r3")
    first = await node.take()
    await node.running(first)
    assert await node.end(first, "failed", reason="EXIT_CODE", exit_code=1, retryable=True) == OK
    second = await node.take()
    assert second.run_step.attempt == 2
    await node.running(second)
    assert await node.end(first, "completed") == ABORTED
    assert await node.renew(first) == ABORTED
    (step,) = (await shown(gateway, pipeline_id))["steps"]  # type: ignore[misc]
    assert step["attempt"] == 2
    assert await node.end(second) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


async def test_a_stream_that_was_cut_goes_on_under_the_same_token(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r4")
    work = await node.take()
    await node.running(work)
    await node.leave()
    await node.connect(gateway.grpc_address)
    assert await node.renew(work) == OK
    assert await node.end(work) == OK
    record = await gateway.ended(pipeline_id)
    assert (record["state"], record["steps"][0]["attempt"]) == ("completed", 1)  # type: ignore[index]
    assert node.work.empty()


async def test_work_that_is_not_accepted_is_sent_again(
    gateway: Gateway, node: ReferenceNode
) -> None:
    node.accept = False
    pipeline_id = await submit(gateway, "r5")
    await node.until(lambda message: message.HasField("work"))
    node.accept = True
    beats = asyncio.create_task(beat(node))
    work = await node.take()
    assert work.run_step.dispatch > 1
    assert work.run_step.attempt == 1
    assert await node.end(work) == OK
    beats.cancel()
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


async def beat(node: ReferenceNode) -> None:
    while True:
        await node.beat()
        await asyncio.sleep(0.3)


async def test_a_cancel_comes_down_as_a_stop_and_waits_for_its_answer(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r6")
    work = await node.take()
    await node.running(work)
    await gateway.http.post(f"/pipelines/{pipeline_id}/cancel", json={"reason": "enough"})
    stop = await node.take("stop_step")
    assert (stop.stop_step.step_index, stop.stop_step.attempt) == (0, 1)
    assert await node.end(work, "failed", reason="CANCELED") == OK
    assert await node.stopped(stop) == OK
    clean = await node.take("clean_workspace")
    assert await node.cleaned(clean) == OK
    record = await gateway.ended(pipeline_id)
    assert (record["state"], record["reason"]) == ("canceled", "CANCELED")


async def test_the_newest_session_takes_the_node_over(
    gateway: Gateway, node: ReferenceNode
) -> None:
    newer = ReferenceNode("ref")
    await newer.register(gateway.grpc_address)
    await newer.connect()
    await node.until(lambda message: message.HasField("superseded"))
    pipeline_id = await submit(gateway, "r7")
    assert await newer.end(await newer.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    assert node.work.empty()
    await node.connect(gateway.grpc_address)
    assert node.heard[-1].WhichOneof("message") == "superseded"
    await newer.leave()


async def test_rubbish_ends_the_stream_with_a_word_or_is_answered_aborted(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r8")
    work = await node.take()
    renewing = asyncio.create_task(_renew(node, work))
    wrong = node_pb2.StepReported(task_token=work.task_token, key=key_of(work), kind="dancing")
    assert await node.ask(step_reported=wrong) == ABORTED
    assert await node.ask(work_ended=node_pb2.WorkEnded(task_token=b"nonsense")) == ABORTED
    assert await node.end(work, "skipped") == ABORTED
    renewing.cancel()
    assert await node.end(work) == ABORTED, "no end that counts can follow"
    assert await node.end(await node.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    stray = grpc.aio.insecure_channel(gateway.grpc_address)
    call = stray.stream_stream("/gamepipe.v1.GameNodeService/Connect")()
    await call.write(b"\xff\xff\xff")
    assert await call.code() is not grpc.StatusCode.OK
    await stray.close()


async def _renew(node: ReferenceNode, work: node_pb2.Work) -> None:
    while True:
        await node.beat()
        await node.renew(work)
        await asyncio.sleep(0.3)


async def test_an_order_that_falls_silent_is_sent_again_within_its_grace(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "r9")
    work = await node.take()
    await node.running(work)
    beats = asyncio.create_task(_renew(node, work))
    order = {"reason": "enough", "grace_seconds": 5}
    await gateway.http.post(f"/pipelines/{pipeline_id}/cancel", json=order)
    lost = await node.take("stop_step")
    renewal = node_pb2.WorkBeat(task_token=lost.task_token)
    assert await node.ask(work_beat=renewal) == OK
    again = await node.take("stop_step")
    assert again.task_token != lost.task_token
    assert again.stop_step == lost.stop_step
    assert await node.ask(work_beat=renewal) == OK, "nobody waits for it, which nobody need know"
    assert await node.end(work, "failed", reason="CANCELED") == OK
    beats.cancel()
    assert await node.stopped(again) == OK
    await node.cleaned(await node.take("clean_workspace"))
    record = await gateway.ended(pipeline_id)
    assert (record["state"], record["reason"]) == ("canceled", "CANCELED")
