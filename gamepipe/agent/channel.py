"""The agent's way to a gateway: one of several addresses, with the token on every call."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc
from pydantic import SecretStr

from gamepipe.limit import MESSAGE_OPTIONS
from gamepipe.model.errors import GamePipeError
from gamepipe.v1.node_pb2_grpc import GameNodeServiceStub

if TYPE_CHECKING:
    from gamepipe.v1.node_pb2_grpc import GameNodeServiceAsyncStub

_OPTIONS = (
    *MESSAGE_OPTIONS,
    # A cut cable shows within 17 s; gateways allow pings every 10 s.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Below the waits of the agent, which spread a fleet: its tries must find the way open.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
)


class TokenUnreadable(GamePipeError):
    """There is no token to send."""

    reason = "TOKEN_UNREADABLE"


class GatewayChannel:
    """A channel to one gateway at a time; `turn` moves on to the next address."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        token: Callable[[], SecretStr | None],
        *,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._addresses = addresses
        self._options = (*_OPTIONS, *options)
        self._token = token
        self._place = 0
        self._last_token: SecretStr | None = None
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.session = 0
        """Of this node, as the gateway issued it; calls that speak for the node carry it."""
        self.session_key = ""
        """What proves the session."""
        self.registering = False
        """A newer one is being issued: the one at hand may be refused any moment."""

    @property
    def address(self) -> str:
        return self._addresses[self._place % len(self._addresses)]

    @property
    def stub(self) -> "GameNodeServiceAsyncStub":
        channel = self._channels.get(self.address)
        if channel is None:
            channel = grpc.aio.insecure_channel(self.address, options=self._options)
            self._channels[self.address] = channel
        return GameNodeServiceStub(channel)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Credentials for one call. Raises `TokenUnreadable` when there never was a token."""
        try:
            token = self._last_token = self._token()
        except OSError as error:
            token = self._last_token
            if token is None:
                raise TokenUnreadable(
                    f"the token file cannot be read: {error}; name a readable one with --token-file"
                ) from error
        return (("authorization", f"Bearer {token.get_secret_value()}"),) if token else ()

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(self._addresses)

    def turn(self) -> None:
        """Use the next address from now on."""
        self._place += 1

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(grace=0)
        self._channels.clear()


def says(error: grpc.aio.AioRpcError, *codes: grpc.StatusCode) -> bool:
    return error.code() in codes


def describe(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
