"""One attempt of a `container` or `service` step, from finding or creating it to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gamepipe.agent.container_brake import Brake
from gamepipe.agent.container_engine import ContainerEngine
from gamepipe.agent.container_facts import ContainerFacts
from gamepipe.agent.container_log import LogFollower
from gamepipe.agent.container_start import ContainerStarter, StoppedEarly
from gamepipe.agent.container_stop import patiently, stop_container, wait_until_ended
from gamepipe.agent.image import Progress
from gamepipe.agent.runtime import Exit, LineSink, StepPlan, StopRequest
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from gamepipe.model.spec import StepType

_LOOK_SECONDS = 0.2


class _Unhealthy(Exception):
    """The service's health check failed for good."""

    def __init__(self, facts: ContainerFacts) -> None:
        super().__init__(facts.id)
        self.printed = facts.health_output
        self.is_cut = facts.health_output_is_cut


@dataclass(kw_only=True)
class ContainerAttempt:
    """Runs or adopts one attempt and follows it; refusals are raised as `Refusal`."""

    engine: ContainerEngine
    starter: ContainerStarter
    plan: StepPlan
    sink: LineSink
    on_running: Callable[[datetime], Awaitable[None]]
    on_progress: Progress
    stop: StopRequest
    clock: Callable[[], datetime]
    service_up_after: timedelta
    _id: str = field(default="", init=False)
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list, init=False)

    @property
    def _is_service(self) -> bool:
        return self.plan.step.type is StepType.SERVICE

    async def run(self) -> Exit:
        """Its end; raises `Refusal`, `EngineUnavailable`, and OSError from the sink."""
        try:
            facts = await self.starter.find_or_start(
                self.plan, self.sink, self.on_progress, self.stop
            )
        except StoppedEarly:
            return self._stopped_before_start()
        self._id = facts.id
        started_at = facts.started_at or self.clock()
        await self.on_running(started_at)
        try:
            return await self._follow(facts, started_at)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- following ------------------------------------------------------------------------------

    async def _follow(self, found: ContainerFacts, started_at: datetime) -> Exit:
        log = LogFollower(self.engine, self._id, self.sink)
        ended = self._spawn(wait_until_ended(self.engine, self._id))
        following = self._spawn(log.follow())
        helpers = [following, self._spawn(self._stop_when_asked())]
        if self._is_service:
            up = self._spawn(self._wait_until_up(started_at))
            await self._first_of(ended, up, helpers=helpers)
        else:
            brake = Brake(
                engine=self.engine,
                container=self._id,
                log=log,
                stop=self.stop,
                is_paused=found.is_paused,
            )
            helpers.append(self._spawn(brake.run()))
            up = None
            await self._first_of(ended, helpers=helpers)
        problem = up.exception() if up is not None and up.done() else None
        came_up = up is not None and up.done() and problem is None and not ended.done()
        if came_up and not self.stop.is_set:
            return await self._leave_up(log, following, started_at)
        if isinstance(problem, _Unhealthy) and not ended.done():
            await self._end_unhealthy(ended)
        facts = await ended
        self.stop.mark_gone()
        log.end()
        await following
        await log.read_rest(is_over=True)
        if isinstance(problem, _Unhealthy) and not self.stop.is_set:
            return self._unhealthy(problem, facts, started_at)
        return self._judge(facts, started_at)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _first_of(
        self, *ends: "asyncio.Task[Any]", helpers: list["asyncio.Task[Any]"]
    ) -> None:
        """Wait for one of the ends; a helper that fails is raised (a full disk, say)."""
        waiting = set(helpers)
        while not any(end.done() for end in ends):
            await asyncio.wait((*ends, *waiting), return_when=asyncio.FIRST_COMPLETED)
            for helper in [one for one in waiting if one.done()]:
                helper.result()
                waiting.remove(helper)

    async def _stop_when_asked(self) -> None:
        await self.stop.wait()
        await self._say(f"stopping: {self.stop.message or self.stop.reason}")
        await patiently(lambda: stop_container(self.engine, self._id, self.stop))

    async def _wait_until_up(self, started_at: datetime) -> None:
        """Until the health check passes; without one, until it ran long enough."""
        while True:
            facts = await patiently(lambda: self.engine.inspect(self._id))
            if facts is None or not facts.is_running:
                await asyncio.Event().wait()  # Its end is told by another task.
            elif facts.health == "healthy":
                return
            elif facts.health == "unhealthy":
                raise _Unhealthy(facts)
            elif not facts.health and self.clock() - started_at >= self.service_up_after:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _end_unhealthy(self, ended: "asyncio.Task[Any]") -> None:
        await self._say("stopping: the health check failed")
        request = StopRequest.within(self.plan.grace_seconds, reason=reasons.UNHEALTHY)
        await patiently(lambda: stop_container(self.engine, self._id, request))
        await ended

    async def _leave_up(
        self, log: LogFollower, following: "asyncio.Task[Any]", started_at: datetime
    ) -> Exit:
        log.end()
        await following
        await log.read_rest(is_over=False)
        facts = await patiently(lambda: self.engine.inspect(self._id))
        if facts is None or not facts.is_running:
            await log.read_rest(is_over=True)
            return self._judge(facts, started_at)
        return Exit(
            exit_code=None,
            started_at=started_at,
            ended_at=self.clock(),
            service_up=True,
            container_id=facts.id,
            container_name=facts.name,
            ports=facts.ports,
        )

    async def _say(self, text: str) -> None:
        await self.sink.write(LogStream.SYSTEM, text, at=self.clock())

    # --- its end --------------------------------------------------------------------------------

    def _judge(self, facts: ContainerFacts | None, started_at: datetime) -> Exit:
        exited_early = False
        if self.stop.is_set:
            reason, message = self.stop.reason, self.stop.message
        elif facts is None:
            reason = reasons.RUNNER_ERROR
            message = "the container was removed while it ran, by somebody else than this service"
        elif self._is_service:
            exited_early, reason = True, reasons.SERVICE_EXITED
            message = f"the service ended before it was up, with {facts.end_description}"
        elif facts.exit_code != 0:
            reason, message = reasons.EXIT_CODE, facts.end_description
        else:
            reason = message = ""
        return Exit(
            exit_code=None if facts is None else facts.exit_code,
            started_at=started_at,
            ended_at=(facts.ended_at if facts else None) or self.clock(),
            reason=reason,
            message=message,
            quotes_log=exited_early,
        )

    def _unhealthy(
        self, problem: _Unhealthy, facts: ContainerFacts | None, started_at: datetime
    ) -> Exit:
        return Exit(
            exit_code=facts.exit_code if facts else None,
            started_at=started_at,
            ended_at=self.clock(),
            reason=reasons.UNHEALTHY,
            message="the health check failed before the service came up",
            said=problem.printed,
            said_is_cut=problem.is_cut,
        )

    def _stopped_before_start(self) -> Exit:
        return Exit(
            exit_code=None,
            started_at=None,
            ended_at=self.clock(),
            reason=self.stop.reason,
            message=self.stop.message or "the step was stopped before it started",
        )
