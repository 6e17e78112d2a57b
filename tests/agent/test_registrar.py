"""Registration with real gRPC gateways."""

import pytest

from gamepipe.agent.channel import GatewayChannel, TokenUnreadable
from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.registrar import RegistrationRefused
from gamepipe.agent.settings import AgentSettings
from gamepipe.v1 import node_pb2, step_pb2
from tests.agent.gateway import Gateway
from tests.agent.link_rig import KEY, Rig, rig

__all__ = ["rig"]


async def test_it_registers_what_the_node_has(rig: Rig, gateway: Gateway):
    await rig.link.register()
    request = gateway.registered[0]
    assert (request.node_id, request.transport, request.protocol) == ("node-1", "temporal", 1)
    assert request.facts.gpus[0].model == "L4"
    assert list(request.facts.features) == ["command"]
    assert dict(request.labels) == {"rack": "7"}
    assert request.location.region == "eu"
    assert request.location.latitude == 52.5
    assert not request.location.HasField("longitude")


async def test_registration_is_tried_until_a_gateway_answers(rig: Rig, gateway: Gateway):
    gateway.refuse_registers = 2
    assert (await rig.link.register()).session == 1


async def test_the_next_gateway_is_tried_when_one_does_not_answer(gateway: Gateway):
    rig = Rig("127.0.0.1:1", gateway.address)
    await rig.start()
    await rig.close()
    assert len(gateway.registered) == 1


async def test_a_wrong_token_is_refused_with_the_remedy(gateway: Gateway):
    gateway.token = "right"
    rig = Rig(gateway.address, token="wrong")
    with pytest.raises(RegistrationRefused, match="--token-file"):
        await rig.link.register()
    await rig.close()


async def test_the_right_token_opens_every_call(gateway: Gateway):
    gateway.token = "right"
    gateway.values[("p", 2)] = node_pb2.FetchStepSecretsResponse(
        values=step_pb2.StepValues(envs={"A": "1"})
    )
    rig = Rig(gateway.address, token="right")
    await rig.start()
    assert (await GatewayValues(rig.channel, "node-1").fetch(KEY)).envs == {"A": "1"}
    assert gateway.asked_under == [1]
    await rig.close()


async def test_a_token_file_that_is_not_there_is_told(gateway: Gateway, tmp_path):
    settings = AgentSettings(token_file=tmp_path / "absent")
    with pytest.raises(TokenUnreadable, match="--token-file"):
        GatewayChannel((gateway.address,), settings.token).metadata()


@pytest.mark.parametrize(("protocol", "older"), [(0, "gateway"), (2, "agent")])
async def test_a_gateway_of_another_protocol_is_not_worked_with(
    rig: Rig, gateway: Gateway, protocol: int, older: str
):
    gateway.protocol = protocol
    with pytest.raises(RegistrationRefused, match=f"update the {older}"):
        await rig.link.register()


async def test_a_registration_whose_answer_was_lost_is_repeated_with_its_nonce(
    rig: Rig, gateway: Gateway
):
    gateway.refuse_registers, gateway.note_refused = 1, True
    await rig.link.register()
    assert len({request.nonce for request in gateway.registered}) == 1
    assert len(gateway.registered) == 2
    await rig.link.register()
    assert len({request.nonce for request in gateway.registered}) == 2
