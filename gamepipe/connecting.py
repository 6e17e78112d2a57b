"""Connecting to Temporal, with an error that names the remedy."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from temporalio.client import Client
from temporalio.runtime import Runtime

from gamepipe.model.errors import InvalidRequest, TemporalUnavailable

_log = structlog.get_logger()

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0


async def connect_temporal(
    address: str,
    namespace: str,
    *,
    patience_seconds: float = 60.0,
    identity: str | None = None,
    runtime: Runtime | None = None,
) -> Client:
    """Connect, and keep trying for `patience_seconds`; without a `runtime` with the default one.

    Raises `TemporalUnavailable` naming the address and the remedy, and `InvalidRequest` at once
    for what is no address.
    """
    loop = asyncio.get_running_loop()
    deadline, wait = loop.time() + patience_seconds, FIRST_WAIT_SECONDS
    while True:
        try:
            return await Client.connect(
                address, namespace=namespace, identity=identity, runtime=runtime
            )
        except ValueError as error:
            raise InvalidRequest(
                f"{address!r} is no address of a Temporal server ({error}): write host:port, such "
                "as GAMEPIPE_TEMPORAL_ADDRESS=127.0.0.1:7233"
            ) from error
        except RuntimeError as error:  # what the SDK raises when nothing answers
            if loop.time() + wait > deadline:
                raise TemporalUnavailable(
                    f"no Temporal server answers at {address} (namespace {namespace}): start one "
                    "with `gamepipe up`, or set GAMEPIPE_TEMPORAL_ADDRESS",
                    address=address,
                ) from error
            _log.warning("temporal.unreachable", action="temporal.unreachable", address=address)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)


class LateClient:
    """One connection for many workers, made when the first of them asks for it."""

    def __init__(self, address: str, namespace: str, *, runtime: Runtime | None = None) -> None:
        self._address = address
        self._namespace = namespace
        self._runtime = runtime
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def get(self) -> Client:
        """Raises `TemporalUnavailable` while the server does not answer."""
        async with self._connecting:
            if self._client is None:
                self._client = await connect_temporal(
                    self._address, self._namespace, runtime=self._runtime
                )
            return self._client


def connected(client: Client) -> Callable[[], Awaitable[Client]]:
    """A client that is there already, for those who ask for one."""

    async def get() -> Client:
        return client

    return get
