"""Whether this gateway can do anything for its agents, or had better leave them to another one."""

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.model.errors import GamePipeError
from gamepipe.ports import Store
from gateway.awake import AwakeClock
from gateway.clock import utc_now

_log = structlog.get_logger()

BEATS_PER_TTL = 6


class GatewayHealth:
    """Says that this gateway hears (nodes are lost only while somebody could have heard them), and
    knows when it last wrote to the store and last reached Temporal."""

    def __init__(self, store: Store, client: Client, *, ttl: timedelta, clock: AwakeClock) -> None:
        self._store = store
        self._client = client
        self._ttl = ttl
        self._clock = clock
        self._id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._started_at = utc_now()
        self._stored_at = self._reached_at = clock.time()
        self._others_reach = False

    async def run(self) -> None:
        """Beat until cancelled; neither waits for the other, which may take its time to answer."""
        await asyncio.gather(self._keep(self._ask_temporal), self._keep(self._beat))

    async def _keep(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await look()
            await asyncio.sleep(self._ttl.total_seconds() / BEATS_PER_TTL)

    def store_trouble(self) -> str:
        """Why this gateway can do nothing for anybody; empty: it can."""
        if self._stored_at < self._limit:
            return "this gateway cannot write to its store: connect to another one"
        return ""

    @property
    def _limit(self) -> float:
        """What was done well before that is too long ago."""
        return self._clock.time() - self._ttl.total_seconds() / 2

    def trouble(self, *, relays: bool) -> str:
        """Why an agent had better go to another gateway; empty: it need not.

        Args:
            relays: its work goes through here, so that Temporal is needed, too. While no other
                gateway reaches Temporal, going there would be of no use.
        """
        if said := self.store_trouble():
            return said
        if relays and self._reached_at < self._limit and self._others_reach:
            return "this gateway does not reach Temporal: connect to another one"
        return ""

    async def _ask_temporal(self) -> None:
        try:
            if await self._client.service_client.check_health(timeout=self._ttl / BEATS_PER_TTL):
                self._reached_at = self._clock.time()
        except (RPCError, RuntimeError) as error:  # RuntimeError: no connection was ever made
            _log.warning("temporal.silent", action="temporal.silent", error=str(error))

    async def _beat(self) -> None:
        silence = self._clock.time() - self._reached_at
        try:
            self._others_reach = await self._store.nodes.gateway_beat(
                self._id,
                started_at=self._started_at,
                ttl=self._ttl,
                now=utc_now(),
                reaches_temporal=silence < self._ttl.total_seconds() / 2,
            )
        except GamePipeError as error:
            _log.warning("gateway.beat_failed", action="gateway.beat_failed", error=error.message)
        else:
            self._stored_at = self._clock.time()
