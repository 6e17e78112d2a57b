"""Which nodes are alive: a node is lost only when everything that it sends is silent.

Three voices: its stream to a gateway, its poller on `node-<id>`, its steps' heartbeats. Silence
counts only after somebody could have heard: this worker and one gateway up for a whole TTL, and
nothing interrupted them (a store that was away, a laptop that slept).
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from gamepipe.model.node import GameNode, pace_of
from gamepipe.model.state import Connectivity
from gamepipe.notice import NoticeSender
from gamepipe.ports import Store
from gamepipe.wire import NodeBack, NodeLost, node_identity, node_queue, workflow_id

_log = structlog.get_logger()

TELL_AGAIN = timedelta(minutes=10)
"""A run may forget what it was told, say by a reset; but each signal costs it some history."""


class NodeSweep:
    """Marks nodes online, suspect or lost, and tells the pipelines of one that is lost or back."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        ttl: timedelta,
        now: Callable[[], datetime],
        interval: timedelta = timedelta(),
    ) -> None:
        """
        Args:
            interval: between two passes, when nothing holds them up.
        """
        self._store = store
        self._client = client
        self._notices = NoticeSender(client)
        self._least_ttl = self._ttl = ttl
        self._interval = interval
        self._now = now
        self._listening_since = self._last_pass = now()
        self._told: dict[tuple[str, str, int], datetime] = {}
        """(node, pipeline, generation) that `node_lost` reached, and when."""

    async def run_once(self) -> None:
        """One pass over the fleet. Raises `RPCError` when Temporal does not answer: then nothing
        is marked, for a server that is away says nothing about the nodes."""
        begun = self._now()
        if begun - self._last_pass > self._interval + self._ttl / 2:
            self._listening_since = begun
        await self._judge_all()
        self._last_pass = begun

    async def _judge_all(self) -> None:
        nodes = await self._store.nodes.list()
        self._ttl = pace_of(len(nodes), self._least_ttl).ttl
        listened = await self._listened_until()
        changed = False
        for node in nodes:
            target = await self._judge(node, listened=listened)
            if target is not node.connectivity:
                changed = True
                await self._store.nodes.mark(node.id, target, now=self._now())
                _log.warning(
                    "node.connectivity",
                    action="node.connectivity",
                    node_id=node.id,
                    connectivity=target.value,
                )
            if target is Connectivity.LOST:
                await self._tell_lost(node)
            elif target is Connectivity.ONLINE:
                await self._tell_back(node)
        if changed:
            await self._offer()

    async def _offer(self) -> None:
        """Nodes that are back take pipelines again; what was offered of lost ones is of others."""
        await self._store.placements.offer(now=self._now())
        await self._notices.send(await self._store.placements.outstanding())

    async def _listened_until(self) -> datetime | None:
        """When a gateway that had listened for a whole TTL was up for the last time; None when none
        was of late, or this worker has not."""
        now = self._now()
        if now - self._listening_since < self._ttl:
            return None
        beats = [
            beat
            for _, started, beat in await self._store.nodes.gateways()
            if beat - started >= self._ttl and now - beat < self._ttl
        ]
        return max(beats, default=None)

    async def _judge(self, node: GameNode, *, listened: datetime | None) -> Connectivity:
        """What came after nobody listened any more was not heard, and is not held against it."""
        seen = node.last_seen_at or node.registered_at or self._listening_since
        silence = self._now() - seen
        if silence < self._ttl / 2:
            return Connectivity.ONLINE
        if node.connectivity is Connectivity.LOST:
            return Connectivity.LOST
        if listened is None or listened - seen < self._ttl or await self._speaks_to_temporal(node):
            return Connectivity.SUSPECT
        return Connectivity.LOST

    async def _speaks_to_temporal(self, node: GameNode) -> bool:
        """The queue of a node that speaks gRPC is polled by a gateway: that says nothing of it."""
        since = self._now() - self._ttl
        if node.transport != "grpc" and any(at > since for at in await self._polls(node)):
            return True
        for pipeline_id, _ in await self._store.placements.live_pipelines_on(node.id):
            if any(at > since for at in await self._heartbeats(pipeline_id, node)):
                return True
        return False

    async def _polls(self, node: GameNode) -> list[datetime]:
        response = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=node_queue(node.id)),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            )
        )
        return _times(poller.last_access_time for poller in response.pollers)

    async def _heartbeats(self, pipeline_id: str, node: GameNode) -> list[datetime]:
        try:
            description = await self._client.get_workflow_handle(
                workflow_id(pipeline_id)
            ).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []
            raise
        return _times(
            activity.last_heartbeat_time
            for activity in description.raw_description.pending_activities
            if activity.last_worker_identity == node_identity(node.id)
        )

    async def _tell_lost(self, node: GameNode) -> None:
        """On every pass those that do not know: a signal may fail."""
        for pipeline_id, generation in await self._store.placements.live_pipelines_on(node.id):
            key = (node.id, pipeline_id, generation)
            told = self._told.get(key)
            if told is not None and self._now() - told < TELL_AGAIN:
                continue
            lost = NodeLost(node_id=node.id, generation=generation)
            if await self._signal(pipeline_id, "node_lost", lost):
                self._told[key] = self._now()

    async def _tell_back(self, node: GameNode) -> None:
        """Those that were told of its loss; others, say after a restart of this worker, look for
        themselves now and then."""
        for key in [key for key in self._told if key[0] == node.id]:
            _, pipeline_id, generation = key
            back = NodeBack(node_id=node.id, generation=generation)
            if await self._signal(pipeline_id, "node_back", back):
                del self._told[key]

    async def _signal(self, pipeline_id: str, name: str, news: NodeLost | NodeBack) -> bool:
        """Whether the run knows it now; one that is gone need not."""
        try:
            await self._client.get_workflow_handle(workflow_id(pipeline_id)).signal(name, news)
        except RPCError as error:
            _log.warning(
                "node.signal_failed",
                action="node.signal_failed",
                signal=name,
                node_id=news.node_id,
                pipeline_id=pipeline_id,
                error=error.message,
            )
            return error.status is RPCStatusCode.NOT_FOUND
        return True


def _times(stamps: Iterable[Timestamp]) -> list[datetime]:
    return [stamp.ToDatetime(tzinfo=UTC) for stamp in stamps if stamp.seconds]
