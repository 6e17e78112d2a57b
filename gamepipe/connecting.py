"""Connecting to Temporal, with an error that names the remedy."""

import asyncio

import structlog
from temporalio.client import Client

from gamepipe.model.errors import TemporalUnavailable

_log = structlog.get_logger()

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0


async def connect_temporal(
    address: str, namespace: str, *, patience_seconds: float = 60.0, identity: str | None = None
) -> Client:
    """Connect, and keep trying for `patience_seconds`.

    Raises `TemporalUnavailable` naming the address and the remedy.
    """
    loop = asyncio.get_running_loop()
    deadline, wait = loop.time() + patience_seconds, FIRST_WAIT_SECONDS
    while True:
        try:
            return await Client.connect(address, namespace=namespace, identity=identity)
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
