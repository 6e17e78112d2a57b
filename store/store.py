"""`GamePipelineStore`: the one way to the data."""

import asyncio
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import text

from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.policy import Policy
from store import lease
from store.database import Database, parse_url
from store.event import EventStore
from store.instance import InstanceStore
from store.latency import LatencyStore
from store.log import LogStore
from store.migration import migrate
from store.node import NodeStore
from store.pipeline import PipelineStore
from store.placement import PlacementStore
from store.process import SecretRow
from store.transaction import Transaction
from store.wakeup import Subscription, hub_for


class GamePipelineStore:
    """See `gamepipe.ports.Store`; open it with `open`, close it with `close`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hub = hub_for(database.url)
        database.on_commit = self._hub.wake
        self.pipelines = PipelineStore(database)
        self.placements = PlacementStore(database)
        self.nodes = NodeStore(database)
        self.latencies = LatencyStore(database)
        self.instances = InstanceStore(database)
        self.logs = LogStore(database)
        self.events = EventStore(database)

    @classmethod
    async def open(
        cls, url: str, *, policy: Policy | None = None, order: OrderPolicy | None = None
    ) -> Self:
        """Open the store at `url`, at the newest schema.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
            policy: what placements are decided by.
            order: by what the queue is served.

        Raises:
            InvalidRequest: the URL names no store that we know.
            StoreUnavailable: the database does not answer.
        """
        await asyncio.to_thread(migrate, parse_url(url))
        return cls(Database(url, policy=policy, order=order))

    def wakeup(self) -> Subscription:
        """A new subscription to writes by any process."""
        return self._hub.subscribe()

    async def ping(self) -> None:
        """Raises `StoreUnavailable`."""
        await self._database.read(lambda session: session.connection().execute(text("SELECT 1")))

    async def lease(self, name: str, holder: str, *, ttl: timedelta, now: datetime) -> bool:
        """Take or renew a lease; whether `holder` has it now."""
        return await self._database.write(lambda tx: lease.take(tx, name, holder, ttl=ttl, now=now))

    async def secret(self, name: str, *, fresh: str) -> str:
        """See `gamepipe.ports.Store`."""

        def work(tx: Transaction) -> str:
            tx.insert_missing(SecretRow, [{"name": name, "value": fresh}])
            return tx.session.get_one(SecretRow, name).value

        return await self._database.write(work)

    async def close(self) -> None:
        await self._hub.close()
        await self._database.close()
