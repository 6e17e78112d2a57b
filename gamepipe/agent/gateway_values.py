"""Values of envs and secrets, fetched from the gateway when a step is about to run."""

import grpc

from gamepipe.agent.channel import GatewayChannel, TokenUnreadable, describe, says
from gamepipe.agent.values import Values, ValuesRefused, ValuesUnauthenticated, ValuesUnavailable
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2
from gamepipe.wire.message import key_message

_TIMEOUT_SECONDS = 10.0
# FAILED_PRECONDITION is none: the session is unknown there, and will be registered anew.
_REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)


class GatewayValues:
    """A `StepValues`: what came with the work, else over `FetchStepSecrets`."""

    def __init__(self, channel: GatewayChannel, node_id: str) -> None:
        self._channel = channel
        self._node_id = node_id
        self._held: dict[AttemptKey, Values] = {}

    def hold(self, key: AttemptKey, values: Values) -> None:
        """They came with the work; the first who asks for them gets them."""
        self._held[key] = values

    def release(self, key: AttemptKey) -> None:
        """Nobody will ask any more."""
        self._held.pop(key, None)

    async def fetch(self, key: AttemptKey) -> Values:
        if (held := self._held.pop(key, None)) is not None:
            return held
        session = self._channel.session
        request = node_pb2.FetchStepSecretsRequest(
            node_id=self._node_id,
            key=key_message(key),
            session=session,
            session_key=self._channel.session_key,
        )
        try:
            answer = await self._channel.stub.FetchStepSecrets(
                request, metadata=self._channel.metadata(), timeout=_TIMEOUT_SECONDS
            )
        except TokenUnreadable as error:
            raise ValuesUnauthenticated(error.message) from None
        except grpc.aio.AioRpcError as error:
            refused = f"the gateway refuses this step's envs and secrets: {describe(error)}"
            if says(error, *_REFUSALS) and not self._is_of_the_past(session, error):
                raise ValuesRefused(refused) from None
            if says(error, grpc.StatusCode.UNAUTHENTICATED):
                raise ValuesUnauthenticated(
                    f"{refused}; give the agent the gateway's token with --token-file"
                ) from None
            raise ValuesUnavailable(describe(error)) from None
        return Values(envs=dict(answer.values.envs), secrets=dict(answer.values.secrets))

    def _is_of_the_past(self, session: int, error: grpc.aio.AioRpcError) -> bool:
        """It was refused for a session that this agent has replaced meanwhile: ask again."""
        renewed = self._channel.registering or self._channel.session != session
        return renewed and says(error, grpc.StatusCode.PERMISSION_DENIED)
