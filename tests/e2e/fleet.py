"""More game nodes beside a running stack's own: each an agent in a process of its own."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from gamepipe.agent.folder import AgentFolders
from tests.agent.making import processes_of
from tests.e2e.stack import GAMEPIPE, RunningStack, wait_for


class FleetNode:
    """A game node: its agent, and everything that its agent started."""

    def __init__(
        self,
        stack: RunningStack,
        node_id: str,
        *flags: str,
        data_dir: Path,
        log: Path,
        program: Sequence[str],
    ) -> None:
        self.id = node_id
        self.data_dir = data_dir
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._stack = stack
        self._flags = flags
        self._program = program

    @property
    def folders(self) -> AgentFolders:
        return AgentFolders(self.data_dir.resolve())

    def start(self) -> None:
        """Start the agent (again); returns once it has registered."""
        before = self.record().get("session", 0)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._program, "agent", *self._arguments()],
                env=self._stack.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(lambda: self._is_there(before), what=f"node {self.id} to register")

    def _arguments(self) -> list[str]:
        gateway = self._stack.info["grpc_address"]
        place = ["--node-id", self.id, "--gateway", gateway, "--data-dir", str(self.data_dir)]
        return [*place, "--allow-commands", *self._flags]

    def _is_there(self, before: int) -> bool:
        assert self.is_alive, self.log.read_text()
        return bool(self.record().get("session", 0) > before)

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def record(self) -> dict[str, Any]:
        """The node as REST shows it; empty before it ever registered."""
        answer = self._stack.http.get(f"/nodes/{self.id}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def end(self, number: signal.Signals) -> int:
        """Signal the agent and wait for its end; what it started goes on."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def lose(self) -> None:
        """The machine is gone at once: `kill -9` of the agent, its shims and their steps."""
        self.end(signal.SIGKILL)
        while left := [*self._shims(), *processes_of(self.folders)]:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _shims(self) -> list[psutil.Process]:
        """In the order in which they must go: a shim that outlived its step would write an end."""
        mark = os.fsencode(self.folders.attempts)
        found = []
        for process in psutil.process_iter():
            with suppress(OSError):
                if mark in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    found.append(process)
        return found

    def close(self) -> None:
        """End it and all that it started; no pipeline of a later test is placed here."""
        self._stack.http.patch(f"/nodes/{self.id}", json={"state": "maintenance"})
        if self.is_alive:
            self.lose()


class Fleet:
    """Starts nodes at one stack and ends them."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack = stack
        self._folder = folder
        self._nodes: list[FleetNode] = []

    def add(
        self,
        node_id: str,
        *flags: str,
        docker_url: str = "",
        data_dir: Path | None = None,
        program: Sequence[str] = GAMEPIPE,
    ) -> FleetNode:
        """A node that is not started yet; `docker_url` empty: it runs no containers.

        `program` is the `gamepipe` command of its installation.
        """
        node = FleetNode(
            self.stack,
            node_id,
            *("--docker-url", docker_url, *flags),
            data_dir=data_dir or self._folder / node_id,
            log=self._folder / f"{node_id}.log",
            program=program,
        )
        self._nodes.append(node)
        return node

    def close(self) -> None:
        for node in self._nodes:
            node.close()
