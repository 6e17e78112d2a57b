"""Who may ask the gateway at all: pages of other sites, tokens that are gone, the open paths."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from gamepipe.config import Settings
from gamepipe.setting import BadSettings, read_settings
from gamepipe.v1 import node_pb2, node_pb2_grpc
from gateway.auth import Access
from gateway.main import GatewayCrashed, serve
from gateway.rest.guard import RequestGuard
from gateway.rpc.watch import StreamWatch
from tests.gateway.conftest import Gateway, running
from tests.gateway.test_pipelines import HELLO, reason
from tests.temporal_fixtures import TemporalServer

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[broken"},
        {"host": "evil.example:8080"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"host": "[broken"},
    ],
)
async def test_a_page_of_another_site_is_refused(
    quiet_gateway: Gateway, headers: dict[str, str]
) -> None:
    for send in (
        quiet_gateway.http.post("/pipelines", json=HELLO, headers=headers),
        quiet_gateway.http.post("/pipelines/any/cancel", headers=headers),
        quiet_gateway.http.get("/pipelines", headers=headers),
    ):
        answer = await send
        assert reason(answer) == (403, "FORBIDDEN")
        assert "GAMEPIPE_TOKEN_FILE" in answer.json()["detail"]
    assert (await quiet_gateway.http.get("/pipelines")).json()["total"] == 0


async def test_our_own_pages_and_names_are_served(quiet_gateway: Gateway) -> None:
    port = quiet_gateway.settings.rest_port
    for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        headers = {"host": name, "origin": f"http://{name}"}
        assert (await quiet_gateway.http.get("/pipelines", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_a_body_that_any_page_could_send_is_refused(
    quiet_gateway: Gateway, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    for path in ("/pipelines", "/pipelines/any/cancel"):
        answer = await quiet_gateway.http.post(path, content=json.dumps(HELLO), headers=headers)
        assert reason(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "application/yaml" in answer.json()["detail"]


async def test_an_open_address_answers_to_any_name_but_not_to_other_sites() -> None:
    access = Access.of(Settings(rest_host="0.0.0.0", insecure=True))

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    transport = httpx.ASGITransport(app=RequestGuard(app, access=access))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://fleet.example") as http:
        assert (await http.get("/")).status_code == 200
        own = {"origin": "http://fleet.example"}
        assert (await http.get("/", headers=own)).status_code == 200
        assert (await http.get("/", headers={"origin": "http://evil.example"})).status_code == 403


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("right\n")
    return path


async def test_with_a_token_only_the_probes_go_without(
    token_file: Path, tmp_path: Path, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with running(url, temporal_server, temporal_client, token_file=token_file) as gateway:
        root, right = gateway.http.base_url.copy_with(path="/"), {"authorization": "Bearer right"}
        for path in ("/docs", "/openapi.json", "/", "/api/v1/nodes", "/nothing"):
            assert reason(await gateway.http.get(root.join(path)))[0] == 401, path
        for path in ("/docs", "/openapi.json", "/api/v1/nodes"):
            assert (await gateway.http.get(root.join(path), headers=right)).status_code == 200
        for path in ("/healthz", "/readyz"):
            assert (await gateway.http.get(root.join(path))).status_code == 200
        elsewhere = right | {"origin": "http://console.example", "host": "fleet.example"}
        assert (await gateway.http.get("/nodes", headers=elsewhere)).status_code == 200


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_text(""),
    "not text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=list(LOSSES))
async def test_a_token_that_is_gone_admits_nobody_until_it_is_back(
    token_file: Path,
    tmp_path: Path,
    temporal_server: TemporalServer,
    temporal_client: Client,
    lose: Callable[[Path], object],
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with (
        running(url, temporal_server, temporal_client, token_file=token_file) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_address) as channel,
    ):
        lose(token_file)
        with capture_logs() as logs:
            for header in ("Bearer right", "Bearer"):
                answer = await gateway.http.get("/nodes", headers={"authorization": header})
                assert reason(answer) == (503, "UNAVAILABLE")
                assert str(token_file) not in answer.text
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await node_pb2_grpc.GameNodeServiceStub(channel).Register(
                    node_pb2.RegisterRequest(), metadata=(("authorization", "Bearer right"),)
                )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        (told,) = [line for line in logs if line["log_level"] == "error"]
        assert str(token_file) in told["error"]
        assert "GAMEPIPE_TOKEN_FILE" in told["error"]
        await asyncio.to_thread(token_file.write_text, "newer")
        newer = {"authorization": "Bearer newer"}
        assert (await gateway.http.get("/nodes", headers=newer)).status_code == 200


@pytest.mark.parametrize("program", [["-m", "gateway"], ["worker.py"]])
@pytest.mark.parametrize(
    "wrong",
    [
        {
            "GAMEPIPE_REST_PORT": "s3cret",
            "GAMEPIPE_GRPC_PORT": "70000",
            "GAMEPIPE_NODE_TTL": "-1",
            "GAMEPIPE_LOG_LEVEL": "LOUD",
        },
        {"GAMEPIPE_STORE_URL": "s3cret"},
        {"GAMEPIPE_STORE_URL": "postgresql://a:s3cret@host:port/db"},
        {"GAMEPIPE_TEMPORAL_ADDRESS": "127.0.0.1:99999"},
    ],
    ids=["several", "no store", "no port", "no address"],
)
def test_wrong_settings_are_named_with_their_remedies(
    program: list[str], wrong: dict[str, str], tmp_path: Path
) -> None:
    said = refusal(program, tmp_path, wrong)
    for name in wrong:
        assert name in said
    assert "s3cret" not in said


@pytest.mark.parametrize("program", [["-m", "gateway"]])
def test_a_missing_token_file_is_named_with_its_remedy(program: list[str], tmp_path: Path) -> None:
    said = refusal(program, tmp_path, {"GAMEPIPE_TOKEN_FILE": str(tmp_path / "none")})
    assert str(tmp_path / "none") in said
    assert "correct GAMEPIPE_TOKEN_FILE" in said


def refusal(program: list[str], folder: Path, changes: dict[str, str]) -> str:
    """What a program says that ends at once, in one line."""
    settings = {"GAMEPIPE_STORE_URL": f"sqlite:///{folder / 'store.db'}", "GAMEPIPE_REST_PORT": "0"}
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, *program],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)} | settings | changes,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_setting_that_is_wrong_raises_what_programs_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEPIPE_REST_PORT", "x")
    monkeypatch.setenv("GAMEPIPE_GRACE", "y")
    with pytest.raises(BadSettings, match=r"GAMEPIPE_REST_PORT: .*GAMEPIPE_GRACE: "):
        read_settings(Settings)


async def test_a_part_that_crashes_ends_the_gateway_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(_: StreamWatch) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(StreamWatch, "run", crash)
    settings = Settings(store_url=f"sqlite:///{tmp_path / 's.db'}", rest_port=0, grpc_port=0)
    with capture_logs() as logs, pytest.raises(GatewayCrashed, match="watch"):
        await asyncio.wait_for(serve(settings, asyncio.Event()), 30)
    (told,) = [line for line in logs if line["event"] == "gateway.crashed"]
    assert (told["log_level"], type(told["exc_info"])) == ("error", ZeroDivisionError)
