"""Stops the steps that will run elsewhere when nobody has heard of this node for too long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

_log = structlog.get_logger()
_LOOKS_PER_TTL = 10
_SILENCE_PER_TTL = 3
"""So long may a gateway be silent before Temporal is asked, too: two heartbeats."""


class CutOffWatch:
    """The node is cut off when neither a gateway nor Temporal (where it takes its steps from there)
    answers it for the TTL."""

    def __init__(
        self,
        *,
        ttl_seconds: Callable[[], float],
        silent_seconds: Callable[[], float],
        client: Callable[[], Client | None],
        stop_steps: Callable[[], Awaitable[None]],
    ) -> None:
        self._ttl_seconds = ttl_seconds
        self._silent_seconds = silent_seconds
        self._client = client
        self._stop_steps = stop_steps
        self._temporal_at = time.monotonic()
        """When Temporal was last known to answer, or this agent began."""
        self._cut_off = False

    @property
    def _ttl(self) -> float:
        return self._ttl_seconds()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._ttl / _LOOKS_PER_TTL)
            if self._silent_seconds() >= self._ttl / _SILENCE_PER_TTL:
                await self._ask_temporal()
            silence = min(self._silent_seconds(), time.monotonic() - self._temporal_at)
            if silence >= self._ttl:
                await self._stop()
            else:
                self._cut_off = False

    async def _ask_temporal(self) -> None:
        if await self._temporal_answers():
            self._temporal_at = time.monotonic()

    async def _temporal_answers(self) -> bool:
        client = self._client()
        if client is None:
            return False
        try:
            return await client.service_client.check_health(
                timeout=timedelta(seconds=max(0.5, self._ttl / _LOOKS_PER_TTL))
            )
        except RPCError:
            return False

    async def _stop(self) -> None:
        if not self._cut_off:
            _log.error(
                "node.cut_off",
                action="node.cut_off",
                remedy="check the network between this node, the gateway and Temporal; steps of "
                "pipelines that are rescheduled are stopped here",
            )
        self._cut_off = True
        await self._stop_steps()
