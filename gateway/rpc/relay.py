"""Serves `node-<id>` for an agent that speaks only gRPC: work goes to its stream with its token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from gamepipe.model import reason as reasons
from gamepipe.model.errors import GamePipeError
from gamepipe.model.record import AttemptKey
from gamepipe.queueserver import QueueServer
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import (
    CleanWorkspace,
    InstanceEnd,
    StepAssignment,
    StepResult,
    StopAnswer,
    StopInstanceOrder,
    StopStep,
)
from gamepipe.wire.message import to_message
from gateway.rpc.token import TokenSeal
from gateway.work import GivenWork

_log = structlog.get_logger()

ACCEPT_SECONDS = 5.0
"""How long an agent has to accept work; then it counts as not delivered."""

POLLERS = 1
"""A gateway serves thousands of queues, and hands over work faster than a node can do it."""

Values = tuple[dict[str, str], dict[str, str]]


class NodeRelay:
    """Lives as long as its stream. Each activity ends here once the agent accepted it, and is
    completed by its token from whatever gateway the agent is connected to then."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        node_id: str,
        *,
        send: Callable[[node_pb2.Work], None],
        values: Callable[[AttemptKey], Awaitable[Values]],
        seal: TokenSeal,
    ) -> None:
        self._node_id = node_id
        self._seal = seal
        self._send = send
        self._values = values
        self._accepting: dict[bytes, asyncio.Future[None]] = {}
        activities = (self.run_step, self.stop_step, self.stop_instance, self.clean_workspace)
        self._server = QueueServer(connect, node_id, activities, pollers=POLLERS)

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        await self._server.run()

    def accepted(self, task_token: bytes) -> None:
        """The agent has it. A word that comes too late finds nobody who waits for it."""
        waiting = self._accepting.get(task_token)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    @activity.defn(name="run_step")
    async def run_step(self, assignment: StepAssignment) -> StepResult:
        message = to_message(assignment, step_pb2.StepAssignment())
        key = _key_of(assignment)
        values = await self._values_of(assignment, key)
        work = node_pb2.Work(run_step=message, run_id=assignment.run_id or "", values=values)
        await self._hand_over(work, key)

    @activity.defn(name="stop_step")
    async def stop_step(self, order: StopStep) -> StopAnswer:
        message = to_message(order, step_pb2.StopStep())
        await self._hand_over(node_pb2.Work(stop_step=message, run_id=order.run_id or ""))

    @activity.defn(name="stop_instance")
    async def stop_instance(self, order: StopInstanceOrder) -> InstanceEnd:
        message = to_message(order, step_pb2.StopInstanceOrder())
        await self._hand_over(node_pb2.Work(stop_instance=message))

    @activity.defn(name="clean_workspace")
    async def clean_workspace(self, order: CleanWorkspace) -> None:
        message = to_message(order, step_pb2.CleanWorkspace())
        await self._hand_over(node_pb2.Work(clean_workspace=message))

    async def _hand_over(self, work: node_pb2.Work, key: AttemptKey | None = None) -> NoReturn:
        info = activity.info()
        asking = info.workflow_run_id or ""
        work.run_id = work.run_id or asking
        work.task_token = self._seal.close(
            GivenWork(
                kind=work.WhichOneof("work") or "",
                node_id=self._node_id,
                run_id=asking,
                key=key,
                task_token=info.task_token,
            )
        )
        waiting = asyncio.get_running_loop().create_future()
        self._accepting[work.task_token] = waiting
        self._send(work)
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                await waiting
        except TimeoutError:
            raise ApplicationError(
                f"the agent did not accept it within {ACCEPT_SECONDS:g} s",
                type=reasons.NOT_DELIVERED,
            ) from None
        finally:
            del self._accepting[work.task_token]
        activity.raise_complete_async()

    async def _values_of(
        self, assignment: StepAssignment, key: AttemptKey
    ) -> step_pb2.StepValues | None:
        """None: it names none, or the store does not answer now; then the agent asks for them."""
        scope = assignment.scope
        if not scope.env_names and not scope.secret_names:
            return None
        try:
            envs, secrets = await self._values(key)
        except GamePipeError as error:
            _log.warning("values.unread", action="values.unread", error=error.message)
            return None
        return step_pb2.StepValues(envs=envs, secrets=secrets)


def _key_of(assignment: StepAssignment) -> AttemptKey:
    return AttemptKey(
        pipeline_id=assignment.pipeline_id,
        generation=assignment.generation,
        step_index=assignment.step.index,
        attempt=assignment.attempt,
    )
