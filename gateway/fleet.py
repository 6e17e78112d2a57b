"""Nodes and instances, as operators see and steer them."""

from collections.abc import Callable
from datetime import datetime, timedelta

from activities.emptying import NodeEmptier
from gamepipe.definition import check_change
from gamepipe.model.errors import IllegalTransition, InvalidRequest
from gamepipe.model.node import GameNode
from gamepipe.model.record import Instance
from gamepipe.model.state import NodeState
from gamepipe.notice import NoticeSender
from gamepipe.ports import NodeChange, Store
from gateway.draining import DrainService
from gateway.ending import PipelineEnder

LONGEST_GRACE = timedelta(days=1)


def check_grace(grace: timedelta | None) -> None:
    """Raises `InvalidRequest`."""
    if grace is not None and not timedelta() <= grace <= LONGEST_GRACE:
        longest = LONGEST_GRACE.total_seconds()
        raise InvalidRequest(f"grace_seconds counts from 0 to {longest:.0f}")


class FleetService:
    """Thin: the store holds the rules."""

    def __init__(
        self,
        *,
        store: Store,
        ender: PipelineEnder,
        emptier: NodeEmptier,
        drains: DrainService,
        notices: NoticeSender,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._ender = ender
        self._emptier = emptier
        self.drains = drains
        self._notices = notices
        self._now = now

    async def nodes(self) -> tuple[GameNode, ...]:
        return await self._store.nodes.list()

    async def node(self, node_id: str) -> GameNode:
        return await self._store.nodes.get(node_id)

    async def update_node(self, node_id: str, change: NodeChange) -> GameNode:
        """Apply; capacity that this opens is offered, what runs on a disabled node is stopped (and
        by the sweep what could not be asked now). Raises `InvalidRequest` for labels that no
        pipeline file may have either.
        """
        check_change(labels=change.labels)
        node = await self._store.nodes.update(node_id, change, now=self._now())
        if change.state is NodeState.DISABLED:
            await self._emptier.empty(node_id, reason=f"node {node_id} was disabled")
        await self._store.placements.offer(now=self._now())
        await self._notices.send(await self._store.placements.outstanding())
        return node

    async def instances(
        self, *, node_id: str = "", pipeline_id: str = "", live_only: bool = False
    ) -> tuple[Instance, ...]:
        return await self._store.instances.list(
            node_id=node_id, pipeline_id=pipeline_id, live_only=live_only
        )

    async def instance(self, instance_id: str) -> Instance:
        return await self._store.instances.get(instance_id)

    async def stop_instance(self, instance_id: str, grace: timedelta | None = None) -> Instance:
        """Ask for the end of a running game; it comes within the grace.

        Raises `IllegalTransition` for an instance that has ended.
        """
        check_grace(grace)
        instance = await self._store.instances.get(instance_id)
        if instance.state.is_terminal:
            raise IllegalTransition(
                f"instance {instance_id!r} is {instance.state} already: there is nothing to stop",
                instance_id=instance_id,
                state=instance.state.value,
            )
        await self._ender.stop_instance(instance, grace)
        return await self._store.instances.get(instance_id)
