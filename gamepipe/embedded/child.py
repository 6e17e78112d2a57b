"""A child process of the stack: its own session, its output in a file, dead when its parent is."""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

_log = structlog.get_logger()

PR_SET_PDEATHSIG = 1
FIRST_RESTART_SECONDS = 0.2
LONGEST_RESTART_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""Up for so long: its next end is restarted without delay again."""
LOG_LIMIT = 64 << 20
"""A log file above this is moved to `.1` at the next start of its process."""


class Child:
    """Starts a command, starts it again when it ends by itself, stops it with TERM, then KILL."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log_file: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._log_file = log_file
        self._pass_fds = tuple(pass_fds)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self, *, seconds: float) -> None:
        """TERM, and KILL to what has not ended in time."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()

    def last_lines(self, count: int = 15) -> str:
        """The end of its output, to say why it did not come up."""
        if not self._log_file.exists():
            return ""
        text = self._log_file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-count:])

    async def _spawn(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_LIMIT:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=self._pass_fds,
                preexec_fn=_die_with_parent,
            )

    async def _keep(self) -> None:
        wait = FIRST_RESTART_SECONDS
        while True:
            assert self._process is not None  # noqa: S101 - spawned before this task
            started = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started > STEADY_SECONDS:
                wait = FIRST_RESTART_SECONDS
            _log.warning("stack.restart", action="stack.restart", process=self.name, exit_code=code)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_RESTART_SECONDS)
            self.restarts += 1
            await self._spawn()


def _die_with_parent() -> None:
    """In the child: the kernel sends TERM when the stack is gone, however it went."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
