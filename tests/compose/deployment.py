"""Our services of docker-compose.temporal.yml as processes on this machine.

Command and environment come from the file. Replaced is only what a container network would give:
host names, ports, the folder of secrets, the folder of the image's own files.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compose.composefile import ROOT, render
from tests.waiting import eventually

OURS = ("gateway", "worker", "agent")


@dataclass
class Deployment:
    """`places` maps parts of values to what they are here, `ports` whole values."""

    folder: Path
    variables: dict[str, str]
    places: dict[str, str]
    ports: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def services(self) -> dict[str, Any]:
        return dict(render(self.variables)["services"])

    def environment(self, name: str) -> dict[str, str]:
        """Of one service: the file's, and nothing of ours but the way to Python."""
        given = {
            variable: self._here(value)
            for variable, value in self.services[name]["environment"].items()
        }
        return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **given}

    def _here(self, value: str) -> str:
        for there, here in self.places.items():
            value = value.replace(there, here)
        return self.ports.get(value, value)

    def start(self, name: str, *more: str) -> None:
        command = [*self.services[name]["command"], *more]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment(name), cwd=self.folder, stdout=log, stderr=log
            )

    async def wait_healthy(self, name: str) -> None:
        """Until the file's own health check of the service passes."""
        await eventually(lambda: self.is_healthy(name), seconds=60, what=f"a healthy {name}")

    def is_healthy(self, name: str) -> bool:
        assert self.processes[name].poll() is None, self.log(name)
        return self.check(name).returncode == 0

    def check(self, name: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        """Run the file's health check of a service."""
        _, *command = self.services[name]["healthcheck"]["test"]
        return subprocess.run(
            [self._here(part) for part in command],
            env=self.environment(name) | changed,
            capture_output=True,
            text=True,
            check=False,
        )

    async def start_all(self) -> None:
        """In the file's order; the agent may also run commands here."""
        for name in OURS:
            self.start(name, *(["--allow-commands"] if name == "agent" else []))
            await self.wait_healthy(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self, name: str) -> tuple[int, float]:
        """TERM, as `docker compose stop` does; exit status and seconds."""
        process, begun = self.processes.pop(name), time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(30), time.monotonic() - begun
        finally:
            process.kill()

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)


def run_script(path: str, environment: dict[str, str]) -> None:
    """A script of deploy/, in the shell that the file names."""
    command = ["/bin/sh", str(ROOT / path)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
