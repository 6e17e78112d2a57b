"""Draining nodes, as operators ask for it and see it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.draining import look_at
from gamepipe.model.errors import IllegalTransition, InvalidRequest, NotFound
from gamepipe.model.state import NodeState
from gamepipe.ports import Store
from gamepipe.starting import RPC_TIMEOUT
from gamepipe.stopping import unavailable
from gamepipe.wire import CONTROL_QUEUE
from gamepipe.wire.drain import Drain, DrainLook, DrainProgress, drain_id

LONGEST = timedelta(days=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainReport:
    """How far a drain is, and what is left now."""

    progress: DrainProgress
    left: DrainLook


class DrainService:
    """One drain a node; a newer one replaces it."""

    def __init__(self, *, store: Store, client: Client, now: Callable[[], datetime]) -> None:
        self._store = store
        self._client = client
        self._now = now

    async def start(
        self, node_id: str, *, deadline: timedelta | None, ignore_instances: bool
    ) -> DrainReport:
        """Take nothing new, wait for what runs; past the deadline stop it.

        Raises `NotFound`, `IllegalTransition` for a disabled node, `TemporalUnavailable`.
        """
        if deadline is not None and not timedelta() <= deadline <= LONGEST:
            raise InvalidRequest("deadline_seconds counts from 0 to 2592000 (30 days)")
        node = await self._store.nodes.get(node_id)
        if node.state is NodeState.DISABLED:
            raise IllegalTransition(
                f"node {node_id!r} is disabled: all that runs there is being stopped already",
                node_id=node_id,
            )
        drain = Drain(
            node_id=node_id,
            deadline=None if deadline is None else self._now() + deadline,
            ignore_instances=ignore_instances,
        )
        try:
            handle = await self._client.start_workflow(
                "DrainNode",
                drain,
                id=drain_id(node_id),
                task_queue=CONTROL_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
                rpc_timeout=RPC_TIMEOUT,
            )
            await _begun(handle)
        except (RPCError, RPCTimeoutOrCancelledError, RuntimeError) as error:
            raise unavailable(error) from error
        return await self.report(node_id)

    async def report(self, node_id: str) -> DrainReport:
        """Raises `NotFound` for a node that was never drained, or not for long."""
        await self._store.nodes.get(node_id)
        handle = self._client.get_workflow_handle(drain_id(node_id))
        try:
            progress: DrainProgress = await handle.query(
                "progress", result_type=DrainProgress, rpc_timeout=RPC_TIMEOUT
            )
        except (RPCError, RuntimeError, WorkflowQueryFailedError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                raise NotFound("drain of node", node_id) from error
            raise unavailable(error) from error
        return DrainReport(progress=progress, left=await look_at(self._store, progress.drain))


async def _begun(handle: WorkflowHandle[object, object]) -> None:
    """Until nothing new comes to the node."""
    try:
        await handle.execute_update("begun", rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it is over already
            raise
