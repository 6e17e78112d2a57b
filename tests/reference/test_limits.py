"""What is too large or too much is refused by name, and nothing is lost; versions and features."""

import asyncio
import random
import string
from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from temporalio.worker import Replayer

from gamepipe.limit import LINE_BYTES, LOG_REQUEST_BYTES, MESSAGE_BYTES, UNACKNOWLEDGED_REQUESTS
from gamepipe.logchunk import pack
from gamepipe.model.record import LogLine, LogStream
from gamepipe.ports import LogChunk
from gamepipe.v1 import log_pb2, node_pb2
from gamepipe.wire import workflow_id
from store.log import LogStore
from tests.gateway.conftest import Gateway
from tests.reference.client import FACTS, ReferenceNode, key_of, now
from tests.reference.test_node import ABORTED, OK, _renew, shown, submit
from tests.waiting import eventually
from tests.workflows.node import now as utc_now
from workflows.pipeline import GamePipeline


def lines_of(
    node: ReferenceNode, work: node_pb2.Work, first: int, *texts: str
) -> node_pb2.PushLogsRequest:
    return node_pb2.PushLogsRequest(
        node_id=node.node_id,
        session=node.session,
        session_key=node.session_key,
        key=key_of(work),
        lines=[
            log_pb2.LogLine(number=first + place, at=now(), text=text)
            for place, text in enumerate(texts)
        ],
    )


def report_of(node: ReferenceNode, **said: object) -> node_pb2.ReportMetricsRequest:
    own = {
        "node_id": node.node_id,
        "session": node.session,
        "session_key": node.session_key,
    }
    return node_pb2.ReportMetricsRequest(**(own | said))  # type: ignore[arg-type]


def told(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    raw = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(raw).details[0].Unpack(info)  # type: ignore[arg-type]
    return info


async def refused(node: ReferenceNode, *requests: node_pb2.PushLogsRequest) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [_ async for _ in node.stub.PushLogs(iter(requests))]
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return caught.value


async def test_lines_and_requests_that_are_too_large_are_refused_by_name(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "big")
    work = await node.take()
    assert await node.log(work, "x" * LINE_BYTES) == 1
    long = "ü" * (LINE_BYTES // 2) + "x"
    info = told(await refused(node, lines_of(node, work, 2, long)))
    assert (info.reason, info.metadata["limit"]) == ("LIMIT_EXCEEDED", "line_bytes")
    assert info.metadata["allowed"] == str(LINE_BYTES)
    packed = lines_of(node, work, 2)
    line = LogLine(number=2, at=utc_now(), stream=LogStream.STDOUT, text=long)
    packed.packed.CopyFrom(log_pb2.PackedLines(first=2, count=1, last_at=now(), data=pack([line])))
    assert told(await refused(node, packed)).metadata["limit"] == "line_bytes"
    many = lines_of(node, work, 2, *("x" * LINE_BYTES for _ in range(16)))
    info = told(await refused(node, many))
    assert (info.metadata["limit"], info.metadata["allowed"]) == (
        "request_bytes",
        str(LOG_REQUEST_BYTES),
    )
    huge = lines_of(node, work, 2, "x" * (MESSAGE_BYTES + 1))
    assert str(MESSAGE_BYTES) in ((await refused(node, huge)).details() or "")
    assert await node.log(work, "small", first=2) == 2, "what fits is taken as before"
    assert await node.end(work, log_lines=2) == OK
    await gateway.ended(pipeline_id)


async def test_more_unacknowledged_requests_than_allowed_end_the_stream_and_lose_nothing(
    gateway: Gateway, node: ReferenceNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, released = LogStore.append, asyncio.Event()

    async def slow(self: LogStore, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
        await released.wait()
        return await append(self, chunks)

    monkeypatch.setattr(LogStore, "append", slow)
    pipeline_id = await submit(gateway, "eager")
    work = await node.take()
    call = node.stub.PushLogs()
    texts = [f"line {number}" for number in range(1, UNACKNOWLEDGED_REQUESTS + 2)]
    for number, text in enumerate(texts, start=1):
        await call.write(lines_of(node, work, number, text))
    answers = []

    async def read() -> None:
        while isinstance(answer := await call.read(), node_pb2.PushLogsResponse):
            answers.append(answer.last_number)

    reading = asyncio.create_task(read())
    for _ in range(2):  # by the next write to the store every request has been read
        await node.stub.ReportMetrics(report_of(node))
    released.set()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(reading, 20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told(caught.value).metadata["limit"] == "unacknowledged_requests"
    assert answers == list(range(1, UNACKNOWLEDGED_REQUESTS + 1)), "what was taken is stored"
    assert await node.log(work, texts[-1], first=len(texts)) == len(texts)
    assert await node.end(work, log_lines=len(texts)) == OK
    await gateway.ended(pipeline_id)
    logs = (await gateway.http.get(f"/pipelines/{pipeline_id}/logs")).text
    assert logs.splitlines() == texts


async def test_outputs_of_a_running_step_are_shown_and_limited(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "l9")
    work = await node.take()
    assert await node.running(work) == OK
    assert await node.wrote(work, version="42") == OK

    async def shown() -> bool:
        (step,) = (await gateway.http.get(f"/pipelines/{pipeline_id}")).json()["steps"]
        return bool(step["outputs"] == {"version": "42"} and step["state"] == "running")

    await eventually(shown)
    assert await node.wrote(work, big="x" * (64 << 10)) == ABORTED
    assert await node.end(work, outputs={"version": "43"}) == OK
    assert (await gateway.ended(pipeline_id))["steps"][0]["outputs"] == {"version": "43"}  # type: ignore[index]


async def test_repeated_reports_cost_the_history_one_signal(
    gateway: Gateway, node: ReferenceNode
) -> None:
    pipeline_id = await submit(gateway, "chatty")
    work = await node.take()
    renewing = asyncio.create_task(_renew(node, work))
    assert [await node.running(work) for _ in range(30)] == [OK] * 30
    for percent in range(1, 6):
        for _ in range(10):  # the answers of these come when they will
            await node.say(step_reported=_progress(work, percent))
        assert await node.progress(work, float(percent)) == OK
    handle = gateway.client.get_workflow_handle(f"pipeline-{pipeline_id}")
    signals = [
        event
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    assert 1 < len(signals) <= 1 + 2 * 5
    assert await node.end(work) == OK
    renewing.cancel()
    assert (await gateway.ended(pipeline_id))["state"] == "completed"


def _progress(work: node_pb2.Work, percent: float) -> node_pb2.StepReported:
    return node_pb2.StepReported(
        task_token=work.task_token, key=key_of(work), kind="progress", at=now(), percent=percent
    )


async def test_metrics_and_round_trips_are_stored_and_survive_heartbeats(
    gateway: Gateway, node: ReferenceNode
) -> None:
    async def metrics() -> dict[str, object]:
        return dict((await gateway.http.get("/nodes/ref")).json()["metrics"])

    trips = [node_pb2.RoundTrip(region="eu", milliseconds=12.5)]
    said = node_pb2.Heartbeat(running_steps=5)
    await node.stub.ReportMetrics(report_of(node, round_trips=trips, metrics=said))
    assert (await metrics())["round_trips_ms"] == {"eu": 12.5}
    ways = (await gateway.http.get("/nodes/ref/latency")).json()
    assert {way["from"]: way["measured"]["rtt_ms"] for way in ways} == {"eu": 12.5}

    async def beaten() -> bool:
        return (await metrics())["running_steps"] == 1

    await eventually(beaten, what="the next heartbeat")
    assert (await metrics())["round_trips_ms"] == {"eu": 12.5}
    for wrong, code in (
        ({"session": 0}, grpc.StatusCode.PERMISSION_DENIED),
        ({"session_key": "guessed"}, grpc.StatusCode.PERMISSION_DENIED),
        ({"round_trips": trips * 2}, grpc.StatusCode.INVALID_ARGUMENT),
        (
            {"round_trips": [node_pb2.RoundTrip(region="eu", milliseconds=-1)]},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            {"round_trips": [node_pb2.RoundTrip(region="e\x7fu", milliseconds=1)]},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            {"metrics": node_pb2.Heartbeat(cpu_share=float("nan"))},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.stub.ReportMetrics(report_of(node, **wrong))
        assert caught.value.code() is code


@pytest.mark.parametrize(
    ("protocol", "older"), [(0, "update the agent"), (9, "update the gateway")]
)
async def test_an_agent_of_another_protocol_is_told_what_is_spoken_here(
    node: ReferenceNode, protocol: int, older: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.stub.Register(
            node_pb2.RegisterRequest(node_id="other", facts=FACTS, protocol=protocol)
        )
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert older in (caught.value.details() or "")
    info = told(caught.value)
    assert info.reason == "PROTOCOL_UNSUPPORTED"
    assert (info.metadata["lowest"], info.metadata["highest"]) == ("1", "1")


async def test_features_are_those_that_both_know_and_the_rest_is_left_out(
    gateway: Gateway, node: ReferenceNode
) -> None:
    """An older agent wants no answer to its heartbeats: it gets none."""
    older = ReferenceNode("older", beats=False)
    older.features = ["dancing", "pace"]
    answer = await older.register(gateway.grpc_address)
    assert (answer.protocol, list(answer.features)) == (1, ["pace"])
    await older.connect()
    await older.say(sequence=1, heartbeat=node_pb2.Heartbeat(running_steps=9))
    step = {"name": "one", "type": "command", "command": "true"}
    placed = {"name": "one", "placement": {"node": "older"}, "steps": [step]}
    pipeline_id = await gateway.submit(placed, id="older")
    assert await older.end(await older.take()) == OK
    assert (await gateway.ended(pipeline_id))["state"] == "completed"
    assert not any(message.HasField("heartbeat_taken") for message in older.heard)
    await older.leave()


async def test_reports_that_come_reordered_repeated_and_late_count_once_each(
    gateway: Gateway, node: ReferenceNode
) -> None:
    dice = random.Random(7)
    works = []
    for name in string.ascii_lowercase[:4]:
        works.append(await node.take_of(await submit(gateway, f"mix-{name}")))
    said = [
        one
        for number, work in enumerate(works)
        for one in _everything(node, work, f"{number}", times=3)
    ]
    dice.shuffle(said)
    outcomes = await asyncio.gather(*(say() for say in said))
    assert set(outcomes) <= {OK, node_pb2.OUTCOME_ABORTED}
    for number, work in enumerate(works):
        pipeline_id = work.run_step.pipeline_id
        record = await gateway.ended(pipeline_id)
        assert (record["state"], record["steps"][0]["attempt"]) == ("completed", 1)  # type: ignore[index]
        assert record["steps"][0]["outputs"] == {"size": f"{number}"}  # type: ignore[index]
        assert await node.running(work) in (OK, node_pb2.OUTCOME_ABORTED), "late"
        assert await node.end(work, "failed", reason="LATE") == node_pb2.OUTCOME_ABORTED
        assert await node.end(work, outputs={"size": f"{number}"}) == OK
        events = (await gateway.http.get(f"/pipelines/{pipeline_id}/events")).json()
        states = [one["data"]["state"] for one in events if one["kind"] == "step_state_changed"]
        assert states == ["running", "completed"]
        assert (await shown(gateway, pipeline_id))["state"] == "completed"
        run = gateway.client.get_workflow_handle(workflow_id(pipeline_id))
        await Replayer(workflows=[GamePipeline]).replay_workflow(await run.fetch_history())


def _everything(node: ReferenceNode, work: node_pb2.Work, size: str, *, times: int) -> Iterator:
    for _ in range(times):
        yield lambda: node.running(work)
        yield lambda: node.progress(work, 50.0)
        yield lambda: node.renew(work)
        yield lambda: node.end(work, outputs={"size": size})
