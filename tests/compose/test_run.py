"""Our services, started as docker-compose.temporal.yml starts them, run a pipeline."""

from typing import Any

import grpc
import httpx
import pytest

from gamepipe.v1.node_pb2 import RegisterRequest
from gamepipe.v1.node_pb2_grpc import GameNodeServiceStub
from tests.compose.deployment import OURS, Deployment
from tests.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.temporal]

PASSWORDS = ("POSTGRES_PASSWORD", "GAMEPIPE_DB_PASSWORD", "TEMPORAL_DB_PASSWORD")
PIPELINE = """
name: compose
steps:
  - name: greet
    type: command
    outputs: [word]
    command: |
      echo "hello from ${{ node.id }}"
      echo "word=done" >> "$GAMEPIPE_OUTPUT"
  - name: answer
    type: command
    command: echo "all ${{ steps.greet.outputs.word }}"
"""


def connect(deployment: Deployment, token: str) -> httpx.AsyncClient:
    port = deployment.environment("gateway")["GAMEPIPE_REST_PORT"]
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/api/v1",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=30,
    )


def token_of(deployment: Deployment) -> str:
    return (deployment.folder / "secrets" / "gamepipe_token").read_text().strip()


async def run_pipeline(http: httpx.AsyncClient) -> dict[str, Any]:
    """The record of a pipeline that ended."""
    created = await http.post("/pipelines", json={"definition": PIPELINE})
    assert created.status_code == 201, created.text

    async def ended() -> dict[str, Any] | None:
        record = dict((await http.get(f"/pipelines/{created.json()['id']}")).json())
        return record if record["ended_at"] else None

    return await eventually(ended, seconds=60, what="the pipeline to end")


async def test_a_pipeline_completes_and_every_service_ends_on_term(deployment: Deployment) -> None:
    token = token_of(deployment)
    async with connect(deployment, token) as http:
        record = await run_pipeline(http)
        assert record["state"] == "completed", record
        lines = await http.get(f"/pipelines/{record['id']}/logs", params={"follow": True})
    assert lines.text.splitlines() == ["hello from node-1", "all done"]

    for name in reversed(OURS):
        status, seconds = deployment.stop(name)
        assert status == 0, deployment.log(name)
        assert seconds < 10  # the shortest stop_grace_period of ours is 20 s
    written = "".join(deployment.log(name) for name in OURS)
    for secret in (token, *(deployment.variables[name] for name in PASSWORDS)):
        assert secret not in written


async def test_nobody_gets_in_without_the_token(deployment: Deployment) -> None:
    for token in ("", "wrong"):
        async with connect(deployment, token) as http:
            assert (await http.get("/pipelines")).status_code == 401
            answer = await http.post("/pipelines", json={"definition": PIPELINE})
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
    address = deployment.environment("agent")["GAMEPIPE_AGENT_GATEWAYS"]
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await GameNodeServiceStub(channel).Register(RegisterRequest(node_id="stranger"))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_checks_see_what_is_not_there(deployment: Deployment) -> None:
    for name, changed in (
        ("gateway", {"GAMEPIPE_REST_PORT": "9"}),
        ("worker", {"GAMEPIPE_TEMPORAL_NAMESPACE": "default"}),
        ("agent", {"GAMEPIPE_AGENT_NODE_ID": "nobody"}),
    ):
        checked = deployment.check(name, **changed)
        assert checked.returncode == 1
        assert checked.stderr.startswith("unhealthy: ")
