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
from gamepipe.ports import Store
from gamepipe.wire import NodeLost, node_identity, node_queue, workflow_id

_log = structlog.get_logger()


class NodeSweep:
    """Marks nodes online, suspect or lost, and tells the pipelines of a lost one."""

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
        self._least_ttl = self._ttl = ttl
        self._interval = interval
        self._now = now
        self._listening_since = self._last_pass = now()

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
        audible = await self._audible()
        for node in nodes:
            target = await self._judge(node, audible=audible)
            if target is not node.connectivity:
                await self._store.nodes.mark(node.id, target, now=self._now())
                _log.warning(
                    "node.connectivity",
                    action="node.connectivity",
                    node_id=node.id,
                    connectivity=target.value,
                )
            if target is Connectivity.LOST:
                await self._tell_pipelines(node)

    async def _audible(self) -> bool:
        """Whether this worker and at least one gateway listened for a whole TTL."""
        now = self._now()
        if now - self._listening_since < self._ttl:
            return False
        return any(
            now - started >= self._ttl and now - beat < self._ttl
            for _, started, beat in await self._store.nodes.gateways()
        )

    async def _judge(self, node: GameNode, *, audible: bool) -> Connectivity:
        seen = node.last_seen_at or node.registered_at or self._listening_since
        silence = self._now() - seen
        if silence < self._ttl / 2:
            return Connectivity.ONLINE
        if node.connectivity is Connectivity.LOST:
            return Connectivity.LOST
        if silence < self._ttl or not audible or await self._speaks_to_temporal(node):
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

    async def _tell_pipelines(self, node: GameNode) -> None:
        """Said again on every pass, until no live pipeline is placed there: a signal may fail."""
        for pipeline_id, generation in await self._store.placements.live_pipelines_on(node.id):
            handle = self._client.get_workflow_handle(workflow_id(pipeline_id))
            try:
                await handle.signal("node_lost", NodeLost(node_id=node.id, generation=generation))
            except RPCError as error:
                _log.warning(
                    "node.lost_signal_failed",
                    action="node.lost_signal_failed",
                    node_id=node.id,
                    pipeline_id=pipeline_id,
                    error=error.message,
                )


def _times(stamps: Iterable[Timestamp]) -> list[datetime]:
    return [stamp.ToDatetime(tzinfo=UTC) for stamp in stamps if stamp.seconds]
