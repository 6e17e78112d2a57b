"""Commands as people start them: on a terminal, or with their output in a pipe."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.e2e.stack import GAMEPIPE

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Session:
    """One running command; everything that it says on either stream is kept in order."""

    def __init__(
        self, *arguments: str, terminal: bool, environment: dict[str, str], width: int = 80
    ) -> None:
        self._terminal = terminal
        self._said = b""
        self.began = time.monotonic()
        writer, self._reader = self._open()
        self.process = subprocess.Popen(
            [*GAMEPIPE, *arguments],
            env=environment | {"COLUMNS": str(width), "LINES": "24", "TERM": "xterm-256color"},
            stdin=writer if terminal else subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        os.close(self._reader)

    def _open(self) -> tuple[int, int]:
        if self._terminal:
            reader, writer = pty.openpty()
        else:
            reader, writer = os.pipe()
        return writer, reader

    @property
    def output(self) -> str:
        """So far, without colours and movements of the cursor."""
        return _ESCAPE.sub("", self._said.decode(errors="replace")).replace("\r\n", "\n")

    def wait_for(self, text: str, *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert self._read(deadline - time.monotonic()), f"no {text!r} in:\n{self.output}"

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends it to every process of the foreground."""
        if self._terminal:
            os.killpg(self.process.pid, signal.SIGINT)
        else:
            self.process.send_signal(signal.SIGINT)

    def end(self, *, seconds: float = 60) -> int:
        """The exit status, once it ended and everything is read."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        """Whether there was more."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        chunk = b""
        if ready:
            with suppress(OSError):  # a terminal whose last process ended
                chunk = os.read(self._reader, 1 << 16)
        self._said += chunk
        return bool(chunk)


def processes_that_know(folder: Path) -> Sequence[str]:
    """Command lines of all that run with this path in their environment or arguments."""
    mark, found = os.fsencode(folder), []
    for process in psutil.process_iter():
        with suppress(OSError):
            proc = Path(f"/proc/{process.pid}")
            command = (proc / "cmdline").read_bytes()
            if command and mark in command + (proc / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
