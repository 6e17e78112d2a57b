"""Agents in this process, and the smallest workflows that ask something of them."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy

from gamepipe.agent.main import run_agent
from gamepipe.agent.settings import AgentSettings
from gamepipe.wire import (
    CleanWorkspace,
    StepAssignment,
    StepReport,
    StepResult,
    StopAnswer,
    StopStep,
    node_queue,
)

with workflow.unsafe.imports_passed_through():
    from workflows import policy

ONE_TRY = RetryPolicy(maximum_attempts=1)


@workflow.defn(sandboxed=False)
class OneStep:
    """Dispatches one attempt until its end is known, as the pipeline's workflow does."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.dispatches = 0

    @workflow.run
    async def run(self, node_id: str, step: StepAssignment) -> StepResult:
        while True:
            self.dispatches += 1
            try:
                return await workflow.execute_activity(
                    "run_step",
                    step,
                    result_type=StepResult,
                    task_queue=node_queue(node_id),
                    start_to_close_timeout=timedelta(minutes=5),
                    heartbeat_timeout=timedelta(seconds=step.heartbeat_seconds),
                    retry_policy=ONE_TRY,
                )
            except Exception:
                if self.dispatches > 5:
                    raise

    @workflow.signal
    def report_step(self, report: StepReport) -> None:
        self.reports.append(report)

    @workflow.query
    def kinds(self) -> list[str]:
        return [report.kind.value for report in self.reports]


@workflow.defn(sandboxed=False)
class OneOrder:
    """Sends one stop or one clean-up to a node."""

    @workflow.run
    async def run(self, node_id: str, name: str, order: dict) -> Any:
        wanted = StopStep(**order) if name == "stop_step" else CleanWorkspace(**order)
        return await workflow.execute_activity(
            name,
            wanted,
            result_type=StopAnswer if name == "stop_step" else None,
            task_queue=node_queue(node_id),
            start_to_close_timeout=timedelta(seconds=30),
            heartbeat_timeout=policy.ORDER_HEARTBEAT,
            retry_policy=policy.DELIVER,
        )


class RunningAgent:
    def __init__(self, settings: AgentSettings) -> None:
        self.ready, self.stop = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(run_agent(settings, ready=self.ready, stop=self.stop))

    async def until_ready(self) -> "RunningAgent":
        await asyncio.wait_for(self.ready.wait(), 20)
        return self

    async def end(self) -> int:
        self.stop.set()
        return await asyncio.wait_for(asyncio.shield(self.task), 10)


async def start_step(client: Client, settings: AgentSettings, step: StepAssignment):
    return await client.start_workflow(
        OneStep.run,
        args=[settings.node_id, step],
        id=f"pipeline-{settings.node_id}-{step.step.index}",
        task_queue="agent-test",
    )
