"""A queue that is full, as clients meet it; and the settings of the queue."""

import json

import grpc
import pytest
from temporalio.client import Client

from gamepipe.config import Settings
from gamepipe.scheduling.limit import Limits
from gamepipe.setting import BadSettings, read_settings
from gamepipe.v1 import pipeline_pb2 as pb
from gamepipe.v1.pipeline_pb2_grpc import GamePipelineGRPCServiceStub
from tests.gateway.conftest import running
from tests.gateway.test_clients import refusal
from tests.temporal_fixtures import TemporalServer

ONE = {"name": "one", "steps": [{"name": "one", "type": "command", "command": "true"}]}


async def test_a_full_queue_is_429_and_resource_exhausted(
    store_url: str, temporal_server: TemporalServer, temporal_client: Client
) -> None:
    async with running(store_url, temporal_server, temporal_client, longest_queue=1) as gateway:
        await gateway.submit(ONE | {"tenant": "acme"}, id="first")
        refused = await gateway.http.post(
            "/pipelines", json={"definition": ONE | {"tenant": "acme"}, "id": "second"}
        )
        assert (refused.status_code, refused.json()["reason"]) == (429, "QUEUE_FULL")
        assert "1 pipelines of tenant 'acme' wait already" in refused.json()["detail"]
        assert (await gateway.http.get("/pipelines/second")).status_code == 404
        await gateway.submit(ONE | {"tenant": "other"}, id="third")
        async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
            client = GamePipelineGRPCServiceStub(channel)
            definition = json.dumps(ONE | {"tenant": "acme"})
            call = client.CreatePipeline(pb.CreatePipelineRequest(definition=definition))
            assert await refusal(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")


def test_the_settings_of_the_queue_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEPIPE_TENANT_WEIGHTS", '{"acme": 4, "*": 0.5}')
    monkeypatch.setenv("GAMEPIPE_LIMITS", '{"tenant": {"*": 50}, "label:game": {"doom": 0}}')
    monkeypatch.setenv("GAMEPIPE_RESERVE_AFTER", "60")
    order = read_settings(Settings).order()
    assert [order.weight(name) for name in ("acme", "nobody")] == [4, 0.5]
    assert order.limits == Limits(most={"tenant": {"*": 50}, "label:game": {"doom": 0}})
    assert (order.reserve_after.total_seconds(), order.longest_queue) == (60, None)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("LIMITS", "{", "GAMEPIPE_LIMITS: must be JSON"),
        ("LIMITS", "[]", r'GAMEPIPE_LIMITS: must be a mapping such as \{"tenant"'),
        ("LIMITS", '{"tenants": {}}', "`tenants` is not known: did you mean `tenant`"),
        ("LIMITS", '{"label:": {}}', "use tenant, template or label:KEY"),
        ("LIMITS", '{"tenant": 3}', "`tenant` must be a mapping of names"),
        ("LIMITS", '{"tenant": {"a": -1}}', "`tenant.a` must be a whole number from 0 on"),
        ("TENANT_WEIGHTS", '{"a": 0, "b": "x"}', "`a` must be a number above 0; `b` must be"),
        ("TENANT_WEIGHTS", "3", "GAMEPIPE_TENANT_WEIGHTS: must be a mapping such as"),
        ("LONGEST_QUEUE", "0", "GAMEPIPE_LONGEST_QUEUE: "),
        ("RESERVATIONS", "-1", "GAMEPIPE_RESERVATIONS: "),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, said: str
) -> None:
    monkeypatch.setenv(f"GAMEPIPE_{name}", given)
    with pytest.raises(BadSettings, match=said):
        read_settings(Settings)
