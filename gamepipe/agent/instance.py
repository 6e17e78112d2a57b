"""Instances: service containers that were left running, watched and stopped on this node.

What is known of them are their labels; the newest attempt of a service step is its instance. The
gateway ignores what it hears of instances that it does not know (a service still coming up).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from aiodocker import Docker

from gamepipe.agent.container_engine import ContainerEngine, EngineError
from gamepipe.agent.container_facts import (
    LABEL_ATTEMPT,
    LABEL_GENERATION,
    LABEL_NODE,
    LABEL_PIPELINE,
    LABEL_STEP,
    SERVICE_LABELS,
    ContainerFacts,
    ContainerSummary,
    step_labels,
)
from gamepipe.agent.container_stop import RETRY_SECONDS, stop_container
from gamepipe.agent.ending import instance_id
from gamepipe.agent.instance_look import Look, look_at, masked
from gamepipe.agent.runtime import StopRequest
from gamepipe.agent.values import StepValues, ValuesUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.state import InstanceState
from gamepipe.wire import InstanceEnd, StopInstanceOrder

_log = structlog.get_logger()

OnObservation = Callable[[str, InstanceState, int | None, str, str], Awaitable[None]]
"""(instance id, state, exit code, reason, message). May be called again with what it was told
before; raises when it could not be told, and is then called again later."""
_EVENTS = ("start", "die", "health_status", "destroy")


@dataclass(frozen=True, kw_only=True)
class _Stopping:
    request: StopRequest
    task: "asyncio.Task[InstanceEnd]"


def _now() -> datetime:
    return datetime.now(UTC)


class InstanceWatcher:
    """Tells how the node's instances are, and stops them."""

    def __init__(
        self,
        docker: Docker,
        *,
        node_id: str,
        on_observation: OnObservation,
        values: StepValues,
        interval: timedelta = timedelta(seconds=15),
        keep_ended: timedelta = timedelta(hours=1),
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """
        Args:
            docker: the engine's client; the caller closes it.
            node_id: only containers of this node are watched.
            on_observation: told of every instance at the start, then of each change.
            values: where envs and secrets are asked for, to mask what containers say.
            interval: between two looks at everything, whether or not the engine told of changes;
                then every instance that does not run well is told of again.
            keep_ended: how long the container of an instance that ended by itself is kept.
            clock: the time now, aware and in UTC.
        """
        self._engine = ContainerEngine(docker)
        self._node_id = node_id
        self._on_observation = on_observation
        self._values = values
        self._interval = interval
        self._keep_ended = keep_ended
        self._clock = clock
        self._told: dict[str, Look] = {}
        self._stopping: dict[str, _Stopping] = {}
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Watch until cancelled; goes on when the engine restarts."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events())
            group.create_task(self._look_regularly())

    async def report_all(self) -> None:
        """Tell the present state of every instance anew. Raises `EngineUnavailable`."""
        self._told = {name: told for name, told in self._told.items() if _is_live(told)}
        await self._look(again=True)

    async def snapshot(self) -> dict[str, Look]:
        """How every instance of the node is, nothing masked. Raises `EngineUnavailable`."""
        found = {}
        for name, container in (await self._newest()).items():
            look = look_at(await self._engine.inspect(container.id))
            if look is not None:
                found[name] = look
        return found

    async def stop(self, order: StopInstanceOrder) -> InstanceEnd:
        """TERM, after the grace KILL, then remove the container; the workspace is the caller's.

        Idempotent; a second order, while the first is carried out, may shorten its grace.
        Raises `EngineError`.
        """
        stopping = self._stopping.get(order.instance_id)
        if stopping is None:
            request = StopRequest()
            task = asyncio.create_task(self._carry_out(order, request))
            stopping = _Stopping(request=request, task=task)
            self._stopping[order.instance_id] = stopping
            task.add_done_callback(lambda _: self._stopping.pop(order.instance_id))
        stopping.request.set(grace_seconds=order.grace_seconds, reason=reasons.CANCELED)
        return await asyncio.shield(stopping.task)

    async def _carry_out(self, order: StopInstanceOrder, request: StopRequest) -> InstanceEnd:
        labels = step_labels(order.pipeline_id, order.generation, order.step_index, self._node_id)
        found = await self._engine.find({**labels, **SERVICE_LABELS})
        if not found:
            return InstanceEnd(message="its container was gone already")
        newest = max(found, key=lambda one: one.attempt)
        facts = await stop_container(self._engine, newest.id, request)
        for container in found:
            await self._engine.remove(container.id)
        self._told.pop(order.instance_id, None)
        if facts is None:
            return InstanceEnd(message="its container was removed while it was stopped")
        return InstanceEnd(exit_code=facts.exit_code, message=f"exit code {facts.exit_code}")

    # --- watching -------------------------------------------------------------------------------

    async def _follow_events(self) -> None:
        labels = [f"{name}={value}" for name, value in self._labels().items()]
        filters = json.dumps({"type": ["container"], "event": _EVENTS, "label": labels})
        while True:
            try:
                async with self._engine.stream("GET", "events", filters=filters) as stream:
                    await self._look(again=True)
                    async for event in stream.read_objects():
                        await self._look_at(event["Actor"]["Attributes"])
            except EngineError as error:
                _log.debug(
                    "instances.engine_away", action="instances.engine_away", error=str(error)
                )
            await asyncio.sleep(RETRY_SECONDS)

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            try:
                await self._look(again=True)
            except EngineError as error:
                _log.warning(
                    "instances.not_seen",
                    action="instances.not_seen",
                    node_id=self._node_id,
                    error=str(error),
                )

    def _labels(self) -> dict[str, str]:
        return {LABEL_NODE: self._node_id, **SERVICE_LABELS}

    async def _look_at(self, labels: Mapping[str, str]) -> None:
        """Something happened to one instance."""
        name = _instance_of(labels)
        if name:
            await self._look(again=False, only=name)

    async def _look(self, *, again: bool, only: str = "") -> None:
        """Look at all instances (or one) and tell what changed; `again`: also what is not well."""
        async with self._lock:
            newest = await self._newest()
            for name, container in newest.items():
                if only in {"", name}:
                    await self._tell_of(name, container.id, again=again)
            for name in [one for one in self._told if one not in newest and only in {"", one}]:
                await self._tell_lost(name)

    async def _newest(self) -> dict[str, ContainerSummary]:
        """The container of each instance."""
        newest: dict[str, ContainerSummary] = {}
        for one in await self._engine.find(self._labels()):
            name = _instance_of(one.labels)
            if name and one.attempt >= newest.get(name, one).attempt:
                newest[name] = one
        return newest

    async def _tell_of(self, name: str, container: str, *, again: bool) -> None:
        facts = await self._engine.inspect(container)
        look = look_at(facts)
        if facts is None or look is None or name in self._stopping:
            return
        try:
            look = await masked(look, facts, self._values)
        except ValuesUnavailable as error:
            self._note_not_told(name, error)
            return
        changed = self._told.get(name) != look
        if changed or (again and look.state is not InstanceState.RUNNING):
            await self._tell(name, look)
        if self._told.get(name) == look and self._is_old(facts):
            await self._engine.remove(container)
            del self._told[name]

    async def _tell_lost(self, name: str) -> None:
        """A container that ran is gone, and not by our hand."""
        if name in self._stopping:
            return
        if _is_live(self._told[name]):
            message = "its container was removed by somebody else than this service"
            lost = Look(state=InstanceState.LOST, message=message)
            await self._tell(name, lost)
            if self._told[name] != lost:
                return
        del self._told[name]

    async def _tell(self, name: str, look: Look) -> None:
        """What could not be told is told at the next look."""
        try:
            await self._on_observation(name, look.state, look.exit_code, look.reason, look.message)
        except Exception as error:
            self._note_not_told(name, error)
        else:
            self._told[name] = look

    def _note_not_told(self, name: str, error: Exception) -> None:
        _log.warning(
            "instances.not_told",
            action="instances.not_told",
            instance_id=name,
            node_id=self._node_id,
            error=repr(error),
        )

    def _is_old(self, facts: ContainerFacts) -> bool:
        ended = facts.ended_at
        return (
            not facts.is_running and ended is not None and self._clock() - ended >= self._keep_ended
        )


def _instance_of(labels: Mapping[str, str]) -> str:
    """The instance's id; "" for a container that only looks like one of ours."""
    if not labels.keys() >= {LABEL_PIPELINE, LABEL_GENERATION, LABEL_STEP, LABEL_ATTEMPT}:
        return ""
    return instance_id(
        labels[LABEL_PIPELINE], int(labels[LABEL_GENERATION]), int(labels[LABEL_STEP])
    )


def _is_live(look: Look) -> bool:
    return not look.state.is_terminal
