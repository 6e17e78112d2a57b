"""The node's Docker engine, when it has one: its version, the runtime and its instances."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from aiodocker import Docker

from gamepipe.agent.container_engine import ContainerEngine, EngineError, connect_docker
from gamepipe.agent.container_runtime import ContainerRuntime
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.instance import InstanceWatcher
from gamepipe.agent.observation import Observation
from gamepipe.agent.settings import AgentSettings
from gamepipe.agent.values import StepValues
from gamepipe.model.state import InstanceState

_log = structlog.get_logger()
_ANSWER_SECONDS = 3.0
_RETRY_SECONDS = 5.0
MAX_IMAGES = 500


class NodeEngine:
    """Connects lazily: an engine that is down now may serve steps later."""

    def __init__(
        self,
        settings: AgentSettings,
        folders: AgentFolders,
        *,
        observe: Callable[[Observation], None],
        values: StepValues,
        clock: Callable[[], datetime],
    ) -> None:
        self.docker: Docker = connect_docker(settings.docker_url)
        self.runtime = ContainerRuntime(
            self.docker,
            node_id=settings.node_id,
            service_up_after=timedelta(seconds=settings.service_up_after),
            clock=clock,
            attempts_dir=folders.attempts,
        )
        self.watcher = InstanceWatcher(
            self.docker,
            node_id=settings.node_id,
            on_observation=self._tell,
            values=values,
            clock=clock,
        )
        self._observe = observe

    async def version(self) -> str:
        """The engine's version; "" when none answers, which is no error."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await ContainerEngine(self.docker).call("GET", "version")
        except (EngineError, TimeoutError):
            return ""
        return str(answer["Version"])

    def may_run(self, instance_id: str) -> bool:
        """False: no container of the instance was ever made here."""
        pipeline_id, _, rest = instance_id.rpartition(".g")
        generation, _, _ = rest.partition(".")
        if not pipeline_id or not generation.isdecimal():
            return True
        return self.runtime.may_have_containers(pipeline_id, int(generation))

    async def watch(self) -> None:
        """Watch instances until cancelled, from the moment that the engine answers."""
        while True:
            if await self.version():
                await self.watcher.run()
            await asyncio.sleep(_RETRY_SECONDS)

    async def images(self) -> tuple[str, ...]:
        """Names of the images on the node, at most `MAX_IMAGES` of them."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await ContainerEngine(self.docker).call("GET", "images/json")
        except (EngineError, TimeoutError) as error:
            _log.warning("images.unknown", action="images.unknown", error=str(error))
            return ()
        names = sorted({name for image in found for name in image.get("RepoTags") or ()})
        return tuple(name for name in names if name != "<none>:<none>")[:MAX_IMAGES]

    async def _tell(
        self,
        instance_id: str,
        state: InstanceState,
        exit_code: int | None,
        reason: str,
        message: str,
    ) -> None:
        self._observe(
            Observation(
                instance_id=instance_id,
                state=state,
                exit_code=exit_code,
                reason=reason,
                message=message,
            )
        )

    async def close(self) -> None:
        await self.docker.close()
