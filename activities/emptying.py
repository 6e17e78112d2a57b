"""Stopping what runs on disabled nodes: at once by the gateway, and by the sweep until it is so.

The state `disabled` in the store is what counts: whoever set it may die before the last stop.
"""

from collections.abc import Awaitable
from datetime import timedelta

import structlog

from gamepipe.model import reason as reasons
from gamepipe.model.errors import GamePipeError, IllegalTransition, NotFound
from gamepipe.model.state import NodeState
from gamepipe.ports import Store
from gamepipe.stopping import Stopper
from gamepipe.wire import CancelOrder

_log = structlog.get_logger()


class NodeEmptier:
    """Cancels the pipelines and stops the instances of a node; safe to repeat."""

    def __init__(self, *, store: Store, stopper: Stopper, grace: timedelta) -> None:
        self._store = store
        self._stopper = stopper
        self._grace = grace

    async def run_once(self) -> None:
        """One pass over the disabled nodes."""
        for node in await self._store.nodes.list():
            if node.state is NodeState.DISABLED:
                await self.empty(node.id, reason=f"node {node.id} was disabled")

    async def empty(self, node_id: str, *, reason: str, instances: bool = True) -> None:
        """Ask for the end of all that runs there. What ended meanwhile is passed over; what
        cannot be asked now is logged, for it is asked again."""
        for pipeline_id, _ in await self._store.placements.live_pipelines_on(node_id):
            await self._attempt(node_id, pipeline_id, self._cancel(pipeline_id, reason))
        live = await self._store.instances.list(node_id=node_id, live_only=True)
        for one in live if instances else ():
            stop = self._stopper.stop_instance(one, self._grace)
            await self._attempt(node_id, one.pipeline_id, stop)

    async def _cancel(self, pipeline_id: str, reason: str) -> None:
        record = await self._store.pipelines.get(pipeline_id)
        if record.reason != reasons.CANCELING:  # it was asked before
            await self._stopper.cancel(pipeline_id, CancelOrder(reason=reason))

    @staticmethod
    async def _attempt(node_id: str, pipeline_id: str, stop: Awaitable[None]) -> None:
        try:
            await stop
        except (IllegalTransition, NotFound):
            return  # it has ended
        except GamePipeError as error:
            _log.warning(
                "node.stop_deferred",
                action="node.stop_deferred",
                node_id=node_id,
                pipeline_id=pipeline_id,
                error=error.message,
            )
