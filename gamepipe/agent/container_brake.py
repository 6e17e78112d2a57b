"""Slows down a container that writes faster than its output is taken."""

import asyncio
from dataclasses import dataclass

from gamepipe.agent.container_engine import ContainerEngine, EngineError
from gamepipe.agent.container_log import LogFollower
from gamepipe.agent.runtime import StopRequest

_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 1.0


@dataclass(kw_only=True)
class Brake:
    """Pauses the container while the sink takes no line: its log would fill the node's disk."""

    engine: ContainerEngine
    container: str
    log: LogFollower
    stop: StopRequest
    is_paused: bool = False

    async def run(self) -> None:
        """Until cancelled. A paused container is resumed as soon as there is room again; one that
        an earlier agent left paused is resumed at once."""
        while not self.stop.is_set:
            wanted = self._is_blocked()
            if wanted != self.is_paused:
                await self._switch(paused=wanted)
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_blocked(self) -> bool:
        since = self.log.writing_since
        now = asyncio.get_running_loop().time()
        return since is not None and now - since >= _PATIENCE_SECONDS

    async def _switch(self, *, paused: bool) -> None:
        """What fails now is tried again at the next look."""
        call = self.engine.pause if paused else self.engine.unpause
        try:
            await call(self.container)
        except EngineError:
            return
        self.is_paused = paused
