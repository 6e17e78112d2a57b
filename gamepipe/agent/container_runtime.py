"""Runs `container` and `service` steps on a Docker engine."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiodocker import Docker

from gamepipe.agent.container_attempt import ContainerAttempt
from gamepipe.agent.container_engine import ContainerEngine, EngineUnavailable
from gamepipe.agent.container_facts import (
    SERVICE_LABELS,
    ContainerSummary,
    attempt_labels,
    container_name,
    generation_labels,
)
from gamepipe.agent.container_log import LogFollower
from gamepipe.agent.container_refusal import Refusal, unavailable
from gamepipe.agent.container_start import MARK, ContainerStarter
from gamepipe.agent.container_stop import stop_container
from gamepipe.agent.image import ImagePuller
from gamepipe.agent.runtime import Exit, LineSink, StepPlan, StopRequest
from gamepipe.model.record import AttemptKey

SERVICE_UP_AFTER = timedelta(seconds=3)
"""A service without a health check is up once it ran that long."""
_REMOVAL_GRACE_SECONDS = 10.0


def _now() -> datetime:
    return datetime.now(UTC)


class ContainerRuntime:
    """A `Runtime`; all it needs to adopt a container are the container's name and labels."""

    def __init__(
        self,
        docker: Docker,
        *,
        node_id: str,
        service_up_after: timedelta = SERVICE_UP_AFTER,
        clock: Callable[[], datetime] = _now,
        attempts_dir: Path | None = None,
    ) -> None:
        """
        Args:
            docker: the engine's client (`connect_docker`); the caller closes it.
            node_id: containers of other nodes on the same engine are left alone.
            service_up_after: how long a service without a health check must run.
            clock: the time now, aware and in UTC.
            attempts_dir: where the attempts' private folders lie. With it the engine is not
                asked about generations that never had a container, so that a node without a
                running engine can still clean up after `command` steps.
        """
        self._engine = ContainerEngine(docker)
        self._node_id = node_id
        self._service_up_after = service_up_after
        self._clock = clock
        self._attempts_dir = attempts_dir
        images = ImagePuller(engine=self._engine, clock=clock)
        self._starter = ContainerStarter(engine=self._engine, images=images, clock=clock)

    async def run(
        self,
        plan: StepPlan,
        sink: LineSink,
        *,
        on_running: Callable[[datetime], Awaitable[None]],
        on_progress: Callable[[float | None, str], Awaitable[None]],
        stop: StopRequest,
    ) -> Exit:
        """Start or adopt the attempt's container and follow it to its end; see `Runtime`."""
        attempt = ContainerAttempt(
            engine=self._engine,
            starter=self._starter,
            plan=plan,
            sink=sink,
            on_running=on_running,
            on_progress=on_progress,
            stop=stop,
            clock=self._clock,
            service_up_after=self._service_up_after,
        )
        try:
            return await attempt.run()
        except Refusal as refusal:
            return self._refused(refusal)
        except EngineUnavailable as error:
            return self._refused(unavailable(error))

    def _refused(self, refusal: Refusal) -> Exit:
        return Exit(
            exit_code=None,
            started_at=None,
            ended_at=self._clock(),
            reason=refusal.reason,
            message=refusal.message,
            retryable=refusal.retryable,
        )

    async def is_up(self, key: AttemptKey) -> bool:
        """See `Runtime`. Raises `EngineUnavailable`."""
        facts = await self._engine.inspect(container_name(key))
        return (
            facts is not None
            and facts.has_labels({**attempt_labels(key, self._node_id), **SERVICE_LABELS})
            and not facts.is_coming_up(after=self._service_up_after, now=self._clock())
        )

    async def remove(self, pipeline_id: str, generation: int, *, keep_services: bool) -> None:
        """Remove a generation's containers; services that run get time to end.

        With `keep_services` the newest container of each service stays, also one that ended: it
        tells how. Raises `EngineUnavailable`.
        """
        if not await asyncio.to_thread(self.may_have_containers, pipeline_id, generation):
            return
        labels = generation_labels(pipeline_id, generation, self._node_id)
        found = await self._engine.find(labels)
        kept = _newest_services(found) if keep_services else set()
        await asyncio.gather(*(self._remove(one) for one in found if one.id not in kept))

    def may_have_containers(self, pipeline_id: str, generation: int) -> bool:
        """False: no container of the generation was ever made by this agent's data."""
        if self._attempts_dir is None:
            return True
        folder = self._attempts_dir / pipeline_id / f"g{generation}"
        return any(folder.glob(f"step-*/a*/{MARK}"))

    async def _remove(self, container: ContainerSummary) -> None:
        if container.is_service and container.is_running:
            stop = StopRequest.within(_REMOVAL_GRACE_SECONDS)
            await stop_container(self._engine, container.id, stop)
        await self._engine.remove(container.id)

    async def kill(
        self, key: AttemptKey, stop: StopRequest, *, sink: LineSink | None = None
    ) -> bool:
        """Stop and remove an attempt's container, so that nothing adopts it any more.

        See `Runtime.kill`. Raises `EngineUnavailable`.
        """
        facts = await self._engine.inspect(container_name(key))
        if facts is None or not facts.has_labels(attempt_labels(key, self._node_id)):
            return False
        await stop_container(self._engine, facts.id, stop)
        stop.mark_gone()
        if sink is not None:
            await LogFollower(self._engine, facts.id, sink).read_rest(is_over=True)
        await self._engine.remove(facts.id)
        return facts.is_running


def _newest_services(found: list[ContainerSummary]) -> set[str]:
    """Ids of each service's newest attempt."""
    newest: dict[int, ContainerSummary] = {}
    for one in found:
        if one.is_service and one.attempt >= newest.get(one.step_index, one).attempt:
            newest[one.step_index] = one
    return {one.id for one in newest.values()}
