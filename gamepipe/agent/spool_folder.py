"""Every spool of one agent on its disk."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from gamepipe.agent.folder import checked_id
from gamepipe.agent.spool import AttemptSpool
from gamepipe.agent.spool_limit import SpoolLimits
from gamepipe.model.record import AttemptKey

_FOLDER = re.compile(r"g(\d+)/step-(\d+)/a(\d+)$")


class SpoolFolder:
    """Every spool of the agent, by attempt."""

    def __init__(self, folder: Path, limits: SpoolLimits | None = None) -> None:
        self._folder = folder
        self._limits = limits or SpoolLimits()
        self._spools: dict[AttemptKey, AttemptSpool] = {}
        self.arrived = asyncio.Event()
        """Set by every line and every end of an attempt; cleared by its reader."""

    def open(self, key: AttemptKey) -> AttemptSpool:
        """The spool of an attempt, with what an earlier agent left in it."""
        spool = self._spools.get(key)
        if spool is None:
            checked_id(key.pipeline_id)
            spool = AttemptSpool(key, self._folder / key.path, self._limits, self.arrived)
            self._spools[key] = spool
            self.arrived.set()
        return spool

    def open_leftovers(self) -> None:
        """Take up what an earlier agent had not shipped."""
        for path in sorted(self._folder.glob("*/g*/step-*/a*")):
            numbers = _FOLDER.search(path.as_posix())
            if numbers:
                generation, step_index, attempt = map(int, numbers.groups())
                self.open(
                    AttemptKey(
                        pipeline_id=path.relative_to(self._folder).parts[0],
                        generation=generation,
                        step_index=step_index,
                        attempt=attempt,
                    )
                )

    def all(self) -> Iterator[AttemptSpool]:
        return iter(tuple(self._spools.values()))

    def get(self, key: AttemptKey) -> AttemptSpool | None:
        return self._spools.get(key)

    def close_generation(self, pipeline_id: str, generation: int) -> None:
        """Nothing writes to the generation's spools any more: each goes once it is shipped."""
        for spool in self.all():
            if (spool.key.pipeline_id, spool.key.generation) == (pipeline_id, generation):
                spool.ended = True
        self.arrived.set()

    def discard(self, spool: AttemptSpool) -> None:
        """Remove a spool that ended and was shipped."""
        if self._spools.get(spool.key) is spool:
            del self._spools[spool.key]
        spool.remove()
