"""The signals that end a command which runs a stack."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from gamepipe.agent.together import run_until

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Takes the signals of the running loop from its making on; later ones change nothing."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.status = 0
        """What a shell makes of the signal, such as 130; 0 while none came."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._note, number)

    def _note(self, number: int) -> None:
        self.status = self.status or 128 + number
        self.came.set()

    async def end(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work until its end, or until a signal, which cancels it and waits for it."""
        await run_until(self.came, work)
