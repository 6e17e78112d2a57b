"""GET /pipelines/{id}/logs: each thing that can be asked for, in each form."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import httpx
import pytest

from gamepipe.definition import bind, parse_pipeline
from gamepipe.model.record import AttemptKey, LogLine, LogStream, NewPipeline
from gamepipe.model.state import PipelineState
from gamepipe.ports import LogChunk
from gamepipe.v1 import pipeline_pb2, pipeline_pb2_grpc
from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import TWO as TWO_STEPS
from tests.gateway.test_pipelines import reason
from tests.store.conftest import NOW

TWO = bind(parse_pipeline(json.dumps(TWO_STEPS)), args={}, envs={}, secrets={}).spec
LINES = ("fetching", "fetched 10 MB", "warning: slow mirror")


async def said(gateway: Gateway, pipeline_id: str) -> str:
    """Where the lines of a new pipeline of two steps are; the first one failed once, the lines are
    seconds apart."""
    await gateway.store.pipelines.add(NewPipeline(id=pipeline_id, spec=TWO), now=NOW)
    for step, attempt in ((0, 1), (0, 2), (1, 1)):
        key = AttemptKey(pipeline_id=pipeline_id, generation=1, step_index=step, attempt=attempt)
        lines = [
            LogLine(
                number=number,
                at=NOW + timedelta(seconds=number),
                stream=LogStream.STDOUT,
                text=f"{step}.{attempt} {text}",
            )
            for number, text in enumerate(LINES, 1)
        ]
        await gateway.store.logs.append([LogChunk.of(key, lines)])
    return f"/pipelines/{pipeline_id}/logs"


@pytest.fixture(scope="module")
async def path(quiet_gateway: Gateway) -> str:
    return await said(quiet_gateway, "p1")


def all_of(*attempts: str) -> list[str]:
    return [f"{attempt} {text}" for attempt in attempts for text in LINES]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, all_of("0.1", "0.2", "1.1")),
        ({"step": "one"}, all_of("0.1", "0.2")),
        ({"step": "1"}, all_of("1.1")),
        ({"attempt": 2}, all_of("0.2")),
        ({"step": "one", "attempt": 1}, all_of("0.1")),
        ({"generation": 1, "step": "two"}, all_of("1.1")),
        ({"generation": 2}, []),
        ({"tail": 2}, all_of("1.1")[-2:]),
        ({"tail": 0}, []),
        (
            {"since": (NOW + timedelta(seconds=3)).isoformat()},
            [f"{a} {LINES[2]}" for a in ("0.1", "0.2", "1.1")],
        ),
        ({"search": "10 MB", "step": "two"}, [f"1.1 {LINES[1]}"]),
        (
            {"search": "^0.*slow|^1.*fetching$", "regex": True},
            [f"0.1 {LINES[2]}", f"0.2 {LINES[2]}", f"1.1 {LINES[0]}"],
        ),
        ({"search": "^0", "regex": False}, []),
        ({"search": "slow", "tail": 1}, [f"1.1 {LINES[2]}"]),
    ],
)
async def test_lines_are_found(
    quiet_gateway: Gateway, path: str, query: dict[str, Any], wanted: list[str]
) -> None:
    answer = await quiet_gateway.http.get(path, params=query)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.splitlines() == wanted


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ({"step": "three"}, "'one', 'two'"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"tail": -1}, "tail"),
        ({"attempt": 0}, "attempt"),
        ({"search": "(", "regex": True}, "RE2"),
    ],
)
async def test_what_cannot_be_asked_says_what_can(
    quiet_gateway: Gateway, path: str, query: dict[str, Any], known: str
) -> None:
    answer = await quiet_gateway.http.get(path, params=query)
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert known in answer.json()["detail"]


async def test_what_cannot_be_followed_is_refused_before_the_stream_begins(
    quiet_gateway: Gateway, path: str
) -> None:
    query = {"search": "(", "regex": True, "follow": True}
    answer = await quiet_gateway.http.get(path, params=query)
    assert reason(answer) == (422, "INVALID_REQUEST")
    assert "RE2" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"tail": 100_001}, "100000"),
        ({"tail": 2**32 - 1, "follow": True}, "100000"),
        ({"search": "x" * 1001}, "1000"),
        ({"search": "(", "regex": True, "follow": True}, "RE2"),
        ({"search": "((a{1,900}){1,900}){1,900}", "regex": True}, "RE2"),
    ],
)
async def test_over_grpc_the_same_is_refused(
    quiet_gateway: Gateway, path: str, query: dict[str, Any], said: str
) -> None:
    del path
    async with grpc.aio.insecure_channel(quiet_gateway.grpc_address) as channel:
        stub = pipeline_pb2_grpc.GamePipelineGRPCServiceStub(channel)
        call = stub.StreamLogs(pipeline_pb2.StreamLogsRequest(id="p1", **query))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in (caught.value.details() or "")


def from_ndjson(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def from_sse(answer: httpx.Response) -> list[dict[str, Any]]:
    blocks = [block.splitlines() for block in answer.text.split("\n\n") if block]
    assert all(block[0] == "event: log" for block in blocks)
    return [json.loads(block[1].removeprefix("data: ")) for block in blocks]


FORMS = {"application/x-ndjson": from_ndjson, "text/event-stream": from_sse}


@pytest.mark.parametrize(("kind", "read"), FORMS.items(), ids=list(FORMS))
async def test_lines_for_programs_name_their_step(
    quiet_gateway: Gateway,
    path: str,
    kind: str,
    read: Callable[[httpx.Response], list[dict[str, Any]]],
) -> None:
    answer = await quiet_gateway.http.get(path, headers={"accept": kind})
    assert answer.headers["content-type"].startswith(kind)
    lines = read(answer)
    assert [line["text"] for line in lines] == all_of("0.1", "0.2", "1.1")
    assert [line["step_name"] for line in lines] == ["one"] * 6 + ["two"] * 3
    wanted = {"generation": 1, "step_index": 1, "attempt": 1, "number": 3, "stream": "stdout"}
    assert wanted.items() <= lines[-1].items()


@pytest.mark.parametrize(("kind", "read"), FORMS.items(), ids=list(FORMS))
async def test_an_ended_pipeline_is_followed_to_its_last_line(
    quiet_gateway: Gateway, kind: str, read: Callable[[httpx.Response], list[dict[str, Any]]]
) -> None:
    pipeline_id = f"ended-{read.__name__}"
    path = await said(quiet_gateway, pipeline_id)
    await quiet_gateway.store.pipelines.update_status(
        pipeline_id, PipelineState.CANCELED, reason="X", message="", now=NOW
    )
    query = {"follow": True, "step": "two"}
    answer = await quiet_gateway.http.get(path, params=query, headers={"accept": kind})
    assert [line["text"] for line in read(answer)] == all_of("1.1")


async def test_they_are_shown_in_the_browser_or_kept_as_a_file(
    quiet_gateway: Gateway, path: str
) -> None:
    shown = await quiet_gateway.http.get(path)
    kept = await quiet_gateway.http.get(path, params={"download": True, "step": "two"})
    assert shown.headers["content-disposition"] == 'inline; filename="p1.log"'
    assert kept.headers["content-disposition"] == 'attachment; filename="p1.log"'
    assert kept.text.splitlines() == all_of("1.1")
