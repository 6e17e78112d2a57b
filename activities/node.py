"""What an agent serves on the queue of its node: activities around the step runner.

This module imports only `gamepipe`, for agents have neither the store nor the gateway.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from gamepipe.agent.runner import StepRunner
from gamepipe.model import reason as reasons
from gamepipe.reporting import report_to_run
from gamepipe.wire import (
    ORDER_HEARTBEAT_SECONDS,
    CleanWorkspace,
    InstanceEnd,
    StepAssignment,
    StepReport,
    StepResult,
    StopAnswer,
    StopInstanceOrder,
    StopStep,
)

_log = structlog.get_logger()

HEARTBEATS_PER_TIMEOUT = 3


class NodeActivities:
    """Adapters only: the runner knows what to do."""

    def __init__(self, runner: StepRunner, client: Client) -> None:
        self._runner = runner
        self._client = client

    def all(self) -> Sequence[Callable[..., Any]]:
        """Every activity, for `Worker(activities=...)`."""
        return (self.run_step, self.stop_step, self.stop_instance, self.clean_workspace)

    @activity.defn(name="run_step")
    async def run_step(self, assignment: StepAssignment) -> StepResult:
        """Follow one attempt to its end.

        A cancelled dispatch (the server gave it up) leaves the step running, to be adopted by the
        next one. When the agent stops, the dispatch ends with NOT_DELIVERED: it is sent again.
        """
        info = activity.info()
        async with _heartbeats(assignment.heartbeat_seconds):
            follow = asyncio.ensure_future(
                self._runner.run(
                    assignment,
                    report=lambda report: self._report(info, report),
                    run_id=_run_of(assignment),
                )
            )
            shutdown = asyncio.ensure_future(activity.wait_for_worker_shutdown())
            try:
                await asyncio.wait((follow, shutdown), return_when=asyncio.FIRST_COMPLETED)
                if follow.done():
                    return follow.result()
            finally:
                follow.cancel()
                shutdown.cancel()
        raise ApplicationError(
            "the agent stops; the step goes on and is adopted by the next dispatch",
            type=reasons.NOT_DELIVERED,
            non_retryable=True,
        )

    async def _report(self, asked: activity.Info, report: StepReport) -> None:
        """Tell the run that asked; one that is gone needs no news."""
        name, run_id = asked.workflow_id or "", asked.workflow_run_id or ""
        if not await report_to_run(self._client, name, run_id, report):
            _log.info("report.unwanted", action="report.unwanted", workflow_id=name)

    @activity.defn(name="stop_step")
    async def stop_step(self, order: StopStep) -> StopAnswer:
        """Stop an attempt; returns once its process group or container is gone."""
        async with _heartbeats(ORDER_HEARTBEAT_SECONDS):
            return await self._runner.stop(order, run_id=_run_of(order))

    @activity.defn(name="stop_instance")
    async def stop_instance(self, order: StopInstanceOrder) -> InstanceEnd:
        """Stop a service that was left running."""
        async with _heartbeats(ORDER_HEARTBEAT_SECONDS):
            return await self._runner.stop_instance(order)

    @activity.defn(name="clean_workspace")
    async def clean_workspace(self, order: CleanWorkspace) -> None:
        """Remove what a generation left on the node."""
        async with _heartbeats(ORDER_HEARTBEAT_SECONDS):
            await self._runner.clean(order)


@contextlib.asynccontextmanager
async def _heartbeats(timeout_seconds: float) -> AsyncIterator[None]:
    """Heartbeat every third of the timeout while the block runs; a short step needs none."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(timeout_seconds / HEARTBEATS_PER_TIMEOUT)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


def _run_of(asked: StepAssignment | StopStep) -> str:
    """The workflow run that the attempt belongs to."""
    return asked.run_id or activity.info().workflow_run_id or ""
