"""What the node has: found at the start, and again when its Docker engine came or went."""

import asyncio
from collections.abc import Callable

import structlog

from gamepipe.agent.engine import NodeEngine
from gamepipe.agent.facts import detect_facts, facts_fields, override_facts
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.settings import AgentSettings
from gamepipe.model.node import NodeFacts

_log = structlog.get_logger()

LOOK_SECONDS = 3.0
LOOKS_UNTIL_GONE = 2
"""An engine that restarts, or once answers late, does not close the node to containers."""


class NodeSurvey:
    """Finds the facts of one node; `engine` None: it runs no containers."""

    def __init__(
        self, settings: AgentSettings, folders: AgentFolders, engine: NodeEngine | None
    ) -> None:
        self._settings = settings
        self._folders = folders
        self._engine = engine
        self._version = ""

    async def facts(self) -> NodeFacts:
        """What the node has now. Raises `BadFacts`."""
        images = tuple[str, ...]()
        if self._engine is not None:
            self._version = await self._engine.version()
            images = await self._images(self._engine)
        facts = await asyncio.to_thread(
            detect_facts,
            self._folders.root,
            docker_version=self._version,
            images=images,
            allow_commands=self._settings.allow_commands,
        )
        if self._settings.facts is not None:
            facts = override_facts(facts, self._settings.facts)
        _log.info("facts.found", action="facts.found", **facts_fields(facts))
        return facts

    async def watch(self, tell: Callable[[NodeFacts], None]) -> None:
        """Tell of new facts whenever the engine's version changed, until cancelled."""
        if self._engine is None:
            return
        unanswered = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            version = await self._engine.version()
            unanswered = 0 if version else unanswered + 1
            if version != self._version and (version or unanswered >= LOOKS_UNTIL_GONE):
                tell(await self.facts())

    async def _images(self, engine: NodeEngine) -> tuple[str, ...]:
        if self._version:
            return await engine.images()
        _log.info(
            "docker.absent",
            action="docker.absent",
            url=self._settings.docker_url,
            remedy="to run container steps, start Docker: the agent finds it within seconds; or "
            "start the agent with the right --docker-url",
        )
        return ()
