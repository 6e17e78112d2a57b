"""Takes in what a step wrote before it was stopped, when no agent followed it then."""

import asyncio
from datetime import datetime

from gamepipe.agent.mask import Masker, MaskingSink
from gamepipe.agent.plan import RunnerTools
from gamepipe.agent.spool import AttemptSpool
from gamepipe.agent.values import Values, ValuesRefused, fetch_patiently
from gamepipe.model.record import AttemptKey, LogStream

VALUES_SECONDS = 20.0
"""How long the values that mask an attempt's last lines are asked for."""
LEFT_OUT = (
    "what the step wrote last was left out: the values of envs and secrets that it may show could "
    "not be asked for"
)


class LateSink:
    """A `LineSink` that asks for the values to mask when the first line comes: mostly none does.
    Without them it keeps no line, and says so."""

    def __init__(
        self, key: AttemptKey, tools: RunnerTools, spool: AttemptSpool, *, names_values: bool
    ) -> None:
        self._key = key
        self._names_values = names_values
        self._tools = tools
        self._spool = spool
        self._masking: MaskingSink | None = None
        self._left_out = False

    def resume_position(self) -> str:
        return self._spool.resume_position()

    async def write(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str = "",
        continued: bool = False,
    ) -> None:
        if self._masking is None and not self._left_out:
            await self._open()
        if self._masking is not None:
            await self._masking.write(stream, text, at=at, position=position, continued=continued)

    async def flush(self) -> None:
        if self._masking is not None:
            await self._masking.flush()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(VALUES_SECONDS):
                values = await self._values()
        except (ValuesRefused, TimeoutError):
            self._left_out = True
            await self._spool.write(LogStream.SYSTEM, LEFT_OUT, at=self._tools.clock())
        else:
            masker = Masker((*values.envs.values(), *values.secrets.values()))
            self._masking = MaskingSink(self._spool, masker)

    async def _values(self) -> Values:
        if not self._names_values:
            return Values()
        return await fetch_patiently(
            self._tools.values, self._key, every=self._tools.settings.fetch_retry
        )
