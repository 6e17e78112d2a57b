"""What `DrainNode` does to a node, and how it sees that the node is empty."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from temporalio import activity

from activities.emptying import NodeEmptier
from gamepipe.model.state import NodeState
from gamepipe.notice import NoticeSender
from gamepipe.ports import NodeChange, Store
from gamepipe.wire.drain import Drain, DrainLook, DrainWatch

LOOK_SECONDS = 5.0
"""A look comes at least this often; a write anywhere brings it forward."""


class DrainActivities:
    """Each one may be repeated."""

    def __init__(
        self,
        *,
        store: Store,
        emptier: NodeEmptier,
        notices: NoticeSender,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._notices = notices
        self._emptier = emptier
        self._now = now

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.begin_drain, self.watch_drain, self.stop_remaining]

    @activity.defn(name="begin_drain")
    async def begin_drain(self, drain: Drain) -> None:
        """Nothing new comes to the node from now on; what it was offered goes elsewhere."""
        node = await self._store.nodes.get(drain.node_id)
        if node.state is NodeState.NORMAL:
            change = NodeChange(state=NodeState.MAINTENANCE)
            await self._store.nodes.update(drain.node_id, change, now=self._now())
            await self._notices.send(await self._store.placements.outstanding())

    @activity.defn(name="watch_drain")
    async def watch_drain(self, watch: DrainWatch) -> DrainLook:
        """Waits until the node is empty, back to normal, or the time has come."""
        wakeup = self._store.wakeup()
        while True:
            look = await look_at(self._store, watch.drain)
            if look.is_over:
                return look
            seconds = LOOK_SECONDS
            if watch.until is not None:
                seconds = min(seconds, (watch.until - self._now()).total_seconds())
            if seconds <= 0:
                return look
            activity.heartbeat(len(look.pipelines), len(look.instances))
            await wakeup.wait(timeout_seconds=seconds)

    @activity.defn(name="stop_remaining")
    async def stop_remaining(self, drain: Drain) -> None:
        await self._emptier.empty(
            drain.node_id,
            reason=f"node {drain.node_id} is drained, and its deadline has passed",
            instances=not drain.ignore_instances,
        )


async def look_at(store: Store, drain: Drain) -> DrainLook:
    """What is left on the node. Raises `NotFound`."""
    node = await store.nodes.get(drain.node_id)
    pipelines = await store.placements.live_pipelines_on(drain.node_id)
    instances = await store.instances.list(node_id=drain.node_id, live_only=True)
    return DrainLook(
        pipelines=tuple(sorted({pipeline_id for pipeline_id, _ in pipelines})),
        instances=() if drain.ignore_instances else tuple(one.id for one in instances),
        called_off=node.state is NodeState.NORMAL,
    )
