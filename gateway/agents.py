"""What agents ask of the service; the logic under `GameNodeService`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from temporalio.client import Client

from gamepipe.model.errors import Forbidden, NotFound
from gamepipe.model.node import GameNode, NodeMetrics
from gamepipe.model.record import AttemptKey, StopOrder
from gamepipe.model.state import Connectivity, InstanceState, NodeState
from gamepipe.notice import NoticeSender
from gamepipe.ports import (
    LogChunk,
    MetricsReport,
    NodeMark,
    NodeSession,
    Registration,
    Store,
    Wakeup,
)
from gateway.work import WorkService

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What became of an instance, as its agent saw it."""

    instance_id: str
    state: InstanceState
    exit_code: int | None = None
    reason: str = ""
    message: str = ""


class AgentService:
    """Nodes register, beat, and tell what they see; `work` takes what they report of steps."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        connect_temporal: Callable[[], Awaitable[Client]],
        notices: NoticeSender,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._notices = notices
        self._now = now
        self.connect_temporal = connect_temporal
        """For workers, which cannot do with a client that connects on its first call."""
        self.work = WorkService(client)

    async def register(self, registration: Registration) -> GameNode:
        """The node with its new session; whoever waits for such a node is offered it."""
        node = await self._store.nodes.register(registration, now=self._now())
        await self._notices.send(await self._store.placements.offer(now=self._now()))
        return node

    async def connect(self, session: NodeSession) -> GameNode:
        """See `NodeRepository.connect`; one that is back is offered to whoever waits."""
        node = await self._store.nodes.connect(session, now=self._now())
        if node.connectivity is Connectivity.ONLINE:
            return node
        node = await self._store.nodes.mark(node.id, Connectivity.ONLINE, now=self._now())
        await self._notices.send(await self._store.placements.offer(now=self._now()))
        return node

    async def check_session(self, session: NodeSession) -> None:
        """See `NodeRepository.check_session`."""
        await self._store.nodes.check_session(session)

    async def expected_instances(self, node_id: str) -> tuple[str, ...]:
        found = await self._store.instances.expected_on(node_id)
        return tuple(one.id for one in found)

    async def beat(
        self, beats: Sequence[tuple[str, int, NodeMetrics]], reports: Sequence[MetricsReport]
    ) -> tuple[str, ...]:
        """See `NodeRepository.heartbeat`."""
        return await self._store.nodes.heartbeat(beats, now=self._now(), reports=reports)

    async def marks(self) -> dict[str, NodeMark]:
        """What gateways must know of every node, by id."""
        return await self._store.nodes.marks()

    def wakeup(self) -> Wakeup:
        return self._store.wakeup()

    async def stop_orders(self, node_id: str) -> tuple[StopOrder, ...]:
        return await self._store.nodes.stop_orders(node_id)

    async def confirm_stop(self, order_id: int, node_id: str) -> None:
        notices = await self._store.nodes.confirm_stop(order_id, node_id=node_id, now=self._now())
        await self._notices.send(notices)

    async def take_state(self, node_id: str, session: int, state: NodeState) -> None:
        """The agent acts by this state from now on."""
        await self._store.nodes.take_state(node_id, session, state, now=self._now())

    async def observe(self, seen: Observed, node_id: str) -> None:
        """Store it. An instance that the store does not know (its pipeline was deleted) is passed
        over: repeating it helps nobody. Raises `Forbidden` for one of another node."""
        try:
            known = await self._store.instances.get(seen.instance_id)
            if known.node_id != node_id:
                raise Forbidden(f"instance {seen.instance_id!r} is not on node {node_id}")
            _, notices = await self._store.instances.observe(
                seen.instance_id,
                seen.state,
                now=self._now(),
                exit_code=seen.exit_code,
                reason=seen.reason,
                message=seen.message,
            )
        except NotFound:
            _log.warning(
                "instance.unknown", action="instance.unknown", instance_id=seen.instance_id
            )
            return
        await self._notices.send(notices)

    async def append_logs(self, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
        return await self._store.logs.append(chunks)

    async def step_values(
        self, key: AttemptKey, node_id: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """(envs, secrets). Raises `Forbidden` unless the node holds the attempt."""
        return await self._store.pipelines.step_values(
            key.pipeline_id,
            generation=key.generation,
            step_index=key.step_index,
            attempt=key.attempt,
            node_id=node_id,
        )
