"""Finds the container of an attempt, or makes and starts it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from gamepipe.agent.container_config import create_body
from gamepipe.agent.container_engine import ContainerEngine, EngineRefused
from gamepipe.agent.container_facts import (
    ContainerFacts,
    attempt_labels,
    container_name,
    step_labels,
)
from gamepipe.agent.container_refusal import Refusal, UnsupportedField, refused
from gamepipe.agent.container_stop import patiently
from gamepipe.agent.image import ImagePuller, Progress, PullFailed
from gamepipe.agent.runtime import LineSink, StepPlan, StopRequest
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from gamepipe.model.spec import Container

MARK = "container"
"""File in an attempt's folder: there may be a container of it."""


class StoppedEarly(Exception):
    """A stop came before the container was made."""


@dataclass(frozen=True, kw_only=True)
class ContainerStarter:
    """Never starts a second container for an attempt."""

    engine: ContainerEngine
    images: ImagePuller
    clock: Callable[[], datetime]

    async def find_or_start(
        self,
        plan: StepPlan,
        sink: LineSink,
        on_progress: Progress,
        stop: StopRequest,
    ) -> ContainerFacts:
        """The attempt's container, running or ended already. Where an earlier agent may have made
        it, an engine that does not answer is waited for instead of giving the attempt up.

        Args:
            plan: the attempt.
            sink: takes what is said about the pull and the adoption.
            on_progress: told of the pull's progress.
            stop: breaks a pull off.

        Raises:
            StoppedEarly: a stop came before there was one.
            Refusal: it cannot be made or started.
            EngineUnavailable: the engine does not answer.
        """
        container = plan.step.container
        if container is None:
            raise Refusal(
                reasons.UNSUPPORTED_FIELD,
                f"step {plan.step.name} has no container",
                retryable=False,
            )
        mark, find = plan.attempt_dir / MARK, partial(self.find, plan)
        found = await (patiently(find) if mark.exists() else find())
        if found is not None:
            await asyncio.to_thread(mark.touch)
        if found is not None and found.started_at is not None:
            await sink.write(LogStream.SYSTEM, _adopted(found), at=self.clock())
            return found
        try:
            if found is None:
                await self._make_room(plan)
                image = await self._image(container, sink, on_progress, stop)
                await asyncio.to_thread(mark.touch)
                await self._create(plan, container, image, sink)
            return await self._start(plan, container)
        except EngineRefused as error:
            raise refused(error, container) from error

    async def find(self, plan: StepPlan) -> ContainerFacts | None:
        """The attempt's container; None when there is none of that name, or one of others."""
        facts = await self.engine.inspect(container_name(plan.key))
        if facts is None or not facts.has_labels(attempt_labels(plan.key, plan.node_id)):
            return None
        return facts

    async def _make_room(self, plan: StepPlan) -> None:
        """Remove what bears the attempt's name without its labels, and ended older attempts."""
        leftover = await self.engine.inspect(container_name(plan.key))
        if leftover is not None:
            await self.engine.remove(leftover.id)
        key = plan.key
        labels = step_labels(key.pipeline_id, key.generation, key.step_index, plan.node_id)
        for other in await self.engine.find(labels):
            if other.attempt < key.attempt and not other.is_running:
                await self.engine.remove(other.id)

    async def _image(
        self, container: Container, sink: LineSink, on_progress: Progress, stop: StopRequest
    ) -> dict[str, Any]:
        """The image's configuration; a stop breaks its pull off. From here on a stop waits until
        the container runs: half a start could leave one behind."""
        providing = asyncio.create_task(
            self.images.provide(container.image, container.pull, sink=sink, on_progress=on_progress)
        )
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((providing, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                raise StoppedEarly
            return await providing
        except PullFailed as error:
            raise Refusal(reasons.IMAGE_PULL_FAILED, str(error)) from error
        finally:
            providing.cancel()
            stopped.cancel()
            await asyncio.gather(providing, stopped, return_exceptions=True)

    async def _create(
        self, plan: StepPlan, container: Container, image: dict[str, Any], sink: LineSink
    ) -> None:
        try:
            workdir = image.get("WorkingDir") or ""
            body = await asyncio.to_thread(create_body, plan, container, image_workdir=workdir)
        except UnsupportedField as error:
            raise Refusal(reasons.UNSUPPORTED_FIELD, str(error), retryable=False) from error
        name = container_name(plan.key)
        answer = await self.engine.call("POST", "containers/create", data=body, name=name)
        for warning in answer.get("Warnings") or ():
            await sink.write(LogStream.SYSTEM, f"Docker warns: {warning}", at=self.clock())

    async def _start(self, plan: StepPlan, container: Container) -> ContainerFacts:
        """A container that will not start is removed, so that nothing adopts it. From here on an
        engine that goes away is waited for: the container may run."""
        name = container_name(plan.key)
        try:
            await patiently(lambda: self.engine.call("POST", f"containers/{name}/start"))
        except EngineRefused as error:
            await patiently(lambda: self.engine.remove(name))
            raise refused(error, container) from error
        facts = await patiently(lambda: self.engine.inspect(name))
        if facts is None:
            raise Refusal(
                reasons.RUNNER_ERROR, "the container was removed as soon as it was started"
            )
        return facts


def _adopted(facts: ContainerFacts) -> str:
    what = "running" if facts.is_running else "ended"
    return f"adopted the {what} container {facts.name}"
