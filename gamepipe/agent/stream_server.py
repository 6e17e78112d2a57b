"""Does the work that comes down the stream, and answers it under its token."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.lease import Lease, LeaseFolder
from gamepipe.agent.lease_message import beat_of, reported
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.values import Values
from gamepipe.backoff import backoff
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import (
    ORDER_HEARTBEAT_SECONDS,
    CleanWorkspace,
    StepAssignment,
    StepReport,
    StepResult,
    StopInstanceOrder,
    StopStep,
)
from gamepipe.wire.message import attempt_key, from_message, key_message, to_message

_log = structlog.get_logger()

BEATS_PER_TIMEOUT = 3


class StreamServer:
    """What `activities.node` is to a Temporal worker, this is to the stream of a gateway."""

    def __init__(
        self, runner: StepRunner, outbox: Outbox, leases: LeaseFolder, values: GatewayValues
    ) -> None:
        self._runner = runner
        self._outbox = outbox
        self._leases = leases
        self._values = values
        self._steps: dict[AttemptKey, tuple[Lease, asyncio.Task[None]]] = {}
        self._orders: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow what an earlier agent had accepted, and everything that comes, until cancelled:
        what runs then goes on, and is adopted by the next agent."""
        for lease in self._leases.all():
            if lease.key not in self._steps:
                self._follow(lease, self._resume(lease))
        try:
            await asyncio.Event().wait()
        finally:
            await self._let_go([*self._orders, *(task for _, task in self._steps.values())])

    async def close(self) -> None:
        """Behind the end of `run`."""
        await self._leases.close()

    def take(self, work: node_pb2.Work) -> None:
        """Accept a piece of work and do it."""
        match work.WhichOneof("work"):
            case "run_step":
                self._take_step(work)
            case "stop_step":
                order = from_message(work.stop_step, StopStep)
                self._take_order(work, self._stop_step(order, work.run_id))
            case "stop_instance":
                stop = from_message(work.stop_instance, StopInstanceOrder)
                self._take_order(work, self._stop_instance(stop))
            case "clean_workspace":
                clean = from_message(work.clean_workspace, CleanWorkspace)
                self._take_order(work, self._clean(clean))

    def lose(self, lost: node_pb2.LeaseLost) -> None:
        """Nobody waits for this attempt any more; a newer dispatch of it is another matter."""
        key = attempt_key(lost.key)
        lease, _ = self._steps.get(key, (None, None))
        if lease is not None and lease.token == lost.task_token:
            # Beside the stream, which goes on while the step takes its time to end.
            self._beside(self._abandon(lease, lost.message))

    # --- steps ----------------------------------------------------------------------------------

    def _take_step(self, work: node_pb2.Work) -> None:
        lease = Lease(
            task_token=work.task_token.hex(),
            run_id=work.run_id,
            assignment=from_message(work.run_step, StepAssignment),
        )
        if work.HasField("values"):
            values = Values(envs=dict(work.values.envs), secrets=dict(work.values.secrets))
            self._values.hold(lease.key, values)
        self._follow(lease, self._begin(lease, work))

    async def _begin(self, lease: Lease, work: node_pb2.Work) -> None:
        await self._keep(lease)
        self._accept(work)
        await self._run(lease)

    async def _keep(self, lease: Lease) -> None:
        """On disk, so that the next agent can go on with it. On a full disk the step will end with
        that reason; should this agent die before, the server sends the step again."""
        try:
            await self._leases.keep(lease)
        except OSError as error:
            _log.error(
                "lease.unwritable",
                action="lease.unwritable",
                error=str(error),
                remedy="free disk space below the agent's data directory",
            )

    def _accept(self, work: node_pb2.Work) -> None:
        accepted = node_pb2.WorkAccepted(task_token=work.task_token)
        self._outbox.note(node_pb2.ConnectRequest(work_accepted=accepted))

    def _follow(self, lease: Lease, work: Coroutine[Any, Any, None]) -> None:
        """Under the newest token; what the older one would have told is told under this one."""
        older = self._steps.get(lease.key)
        if older is not None:
            older[1].cancel()
        task = asyncio.create_task(work)
        self._steps[lease.key] = (lease, task)
        task.add_done_callback(lambda _: self._forget(lease))

    def _forget(self, lease: Lease) -> None:
        if self._is_current(lease):
            del self._steps[lease.key]
            self._values.release(lease.key)

    def _is_current(self, lease: Lease) -> bool:
        """Whether no newer dispatch of the attempt came."""
        current = self._steps.get(lease.key)
        return current is not None and current[0] is lease

    async def _resume(self, lease: Lease) -> None:
        """An earlier agent had it: go on if it still counts. Running it anew without asking could
        repeat what was done elsewhere meanwhile."""
        for wait in backoff():
            answer = await self._outbox.tell(node_pb2.ConnectRequest(work_beat=beat_of(lease)))
            if answer.outcome != node_pb2.OUTCOME_ABORTED:
                await self._run(lease)
                return
            if await self._abandoned(lease, answer.message):
                return
            await asyncio.sleep(wait)

    async def _abandoned(self, lease: Lease, message: str) -> bool:
        """Whether that went well: an engine may be away."""
        try:
            await self._abandon(lease, message)
        except Exception as error:
            _log.error("lease.not_ended", action="lease.not_ended", error=repr(error))
            return False
        return True

    async def _run(self, lease: Lease) -> None:
        beats = asyncio.create_task(self._beat(beat_of(lease), lease.assignment.heartbeat_seconds))
        try:
            result = await self._runner.run(
                lease.assignment, report=self._reporting(lease), run_id=lease.run_id
            )
            await self._tell_end(lease, result)
        finally:
            beats.cancel()

    async def _beat(self, beat: node_pb2.WorkBeat, timeout_seconds: float) -> None:
        while True:
            await asyncio.sleep(timeout_seconds / BEATS_PER_TIMEOUT)
            self._outbox.note(node_pb2.ConnectRequest(work_beat=beat))

    def _reporting(self, lease: Lease) -> Callable[[StepReport], Awaitable[None]]:
        async def report(news: StepReport) -> None:
            answer = await self._outbox.tell(reported(lease, news))
            if answer.outcome == node_pb2.OUTCOME_ABORTED:  # beside: its end ends this report
                self._beside(self._abandon(lease, answer.message))

        return report

    async def _tell_end(self, lease: Lease, result: StepResult) -> None:
        """Until it is answered. A service that came up goes on, whatever the answer is."""
        ended = node_pb2.WorkEnded(
            task_token=lease.token,
            key=key_message(lease.key),
            step_result=to_message(result, step_pb2.StepResult()),
        )
        answer = await self._outbox.tell(node_pb2.ConnectRequest(work_ended=ended))
        if answer.outcome == node_pb2.OUTCOME_ABORTED:
            _log.info(
                "end.unwanted",
                action="end.unwanted",
                pipeline_id=lease.key.pipeline_id,
                step=lease.key.step_index,
                attempt=lease.key.attempt,
                message=answer.message,
            )
        await self._leases.drop(lease.key)

    async def _abandon(self, lease: Lease, message: str) -> None:
        """Stop what runs of an attempt that does not count any more, and forget it. When that
        fails, its next heartbeat is answered in the same way. A service that came up goes on: it
        ends only by an order that names it."""
        key = lease.key
        is_up = await self._runner.is_up(lease.assignment)
        _log.warning(
            "lease.lost",
            action="lease.lost",
            pipeline_id=key.pipeline_id,
            step=key.step_index,
            attempt=key.attempt,
            message=message,
            left_up=is_up,
        )
        if not is_up:
            await self._runner.stop(lease.stop, run_id=lease.run_id)
        if self._is_current(lease) or key not in self._steps:
            await self._leases.drop(key)

    # --- orders ---------------------------------------------------------------------------------

    def _take_order(
        self, work: node_pb2.Work, end: Coroutine[Any, Any, node_pb2.WorkEnded]
    ) -> None:
        self._beside(self._obey(work, end))
        self._accept(work)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._orders.add(task)
        task.add_done_callback(self._drop)

    def _drop(self, task: "asyncio.Task[None]") -> None:
        self._orders.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("work.failed", action="work.failed", error=repr(error))

    async def _obey(
        self, work: node_pb2.Work, order: Coroutine[Any, Any, node_pb2.WorkEnded]
    ) -> None:
        beat = node_pb2.WorkBeat(task_token=work.task_token)
        beats = asyncio.create_task(self._beat(beat, ORDER_HEARTBEAT_SECONDS))
        try:
            ended = await order
        except Exception as error:
            kind = work.WhichOneof("work") or ""
            _log.warning("order.failed", action="order.failed", order=kind, error=repr(error))
            failed = node_pb2.WorkFailed(reason=reasons.RUNNER_ERROR, message=str(error))
            ended = node_pb2.WorkEnded(failed=failed)
        ended.task_token = work.task_token
        try:
            await self._outbox.tell(node_pb2.ConnectRequest(work_ended=ended))
        finally:
            beats.cancel()

    async def _stop_step(self, order: StopStep, run_id: str) -> node_pb2.WorkEnded:
        answer = await self._runner.stop(order, run_id=run_id)
        return node_pb2.WorkEnded(stop_answer=to_message(answer, step_pb2.StopAnswer()))

    async def _stop_instance(self, order: StopInstanceOrder) -> node_pb2.WorkEnded:
        end = await self._runner.stop_instance(order)
        return node_pb2.WorkEnded(instance_end=to_message(end, step_pb2.InstanceEnd()))

    async def _clean(self, order: CleanWorkspace) -> node_pb2.WorkEnded:
        await self._runner.clean(order)
        return node_pb2.WorkEnded(cleaned=node_pb2.Cleaned())

    @staticmethod
    async def _let_go(tasks: "list[asyncio.Task[None]]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
