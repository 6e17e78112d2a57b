"""Stops of games that are no more: they would keep their id from a later game of the same name.

A stop keeps trying while its node is away, for as long as the game may come back with the node. It
is given up when the game was deleted with its pipeline, or another of its name runs elsewhere.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from temporalio.client import Client, WorkflowExecution

from gamepipe.model.errors import NotFound
from gamepipe.model.state import InstanceState
from gamepipe.ports import Store
from gamepipe.wire import InstanceStop

_log = structlog.get_logger()

RUNNING_STOPS = "WorkflowType = 'StopInstance' AND ExecutionStatus = 'Running'"

PATIENCE = timedelta(seconds=30)
"""A stop that is younger is not looked at: most of them take a second."""


class StopSweep:
    """Gives up stops that nobody waits for any more."""

    def __init__(self, *, store: Store, client: Client, now: Callable[[], datetime]) -> None:
        self._store = store
        self._client = client
        self._now = now

    async def run_once(self) -> None:
        """One pass. What the node still runs is stopped by the order that the deletion left."""
        async for execution in self._client.list_workflows(RUNNING_STOPS):
            if self._now() - execution.start_time > PATIENCE:
                await self._check(execution)

    async def _check(self, execution: WorkflowExecution) -> None:
        handle = self._client.get_workflow_handle(execution.id, run_id=execution.run_id)
        started = (await handle.fetch_history()).events[0]
        payloads = started.workflow_execution_started_event_attributes.input.payloads
        stop: InstanceStop
        (stop,) = await self._client.data_converter.decode(payloads, [InstanceStop])
        if not await self._is_wanted(stop):
            _log.info("stop.given_up", action="stop.given_up", instance_id=stop.order.instance_id)
            await handle.cancel()

    async def _is_wanted(self, stop: InstanceStop) -> bool:
        try:
            instance = await self._store.instances.get(stop.order.instance_id)
        except NotFound:
            return False
        over = instance.state.is_terminal and instance.state is not InstanceState.LOST
        return instance.node_id == stop.node_id and not over
