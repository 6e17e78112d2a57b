"""A real `gamepipe up` in a process of its own, and the commands that people run against it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

GAMEPIPE = [sys.executable, "-m", "gamepipe.cli"]
FAST = {
    "GAMEPIPE_NODE_TTL": "6",
    "GAMEPIPE_HEARTBEAT_TIMEOUT": "3",
    "GAMEPIPE_SCHEDULE_TO_START": "5",
    "GAMEPIPE_SWEEP_INTERVAL": "0.5",
    "GAMEPIPE_GRACE": "2",
}
START_SECONDS = 60


def wait_for(probe: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
    """The first truthy answer of `probe`."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last saw {answer!r}"
        time.sleep(0.05)
    return answer


class RunningStack:
    """Starts, kills and restarts the stack of one data directory."""

    def __init__(self, data_dir: Path, *flags: str, **environment: str) -> None:
        self.data_dir = data_dir
        self._flags = ["--data-dir", str(data_dir), "--free-ports", "--allow-commands", *flags]
        self.environment = os.environ | FAST | environment
        self.process: subprocess.Popen[str] | None = None
        self.http = httpx.Client()

    @property
    def store_url(self) -> str:
        sqlite = f"sqlite:///{self.data_dir / 'gamepipe.db'}"
        return self.environment.get("GAMEPIPE_STORE_URL", sqlite)

    @property
    def info(self) -> dict[str, Any]:
        return dict(json.loads((self.data_dir / "stack.json").read_text()))

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "up.out").open("a") as output:
            self.process = subprocess.Popen(
                [*GAMEPIPE, "up", *self._flags],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        wait_for(self._is_up, seconds=START_SECONDS, what="the stack to start")
        self.http.close()
        self.http = httpx.Client(base_url=f"{self.info['url']}/api/v1", timeout=30)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        with suppress(OSError, ValueError):
            return bool(self.info["pid"] == self.process.pid)
        return False

    def output(self) -> str:
        return (self.data_dir / "up.out").read_text()

    def interrupt(self) -> float:
        """Ctrl-C; the seconds until it ended."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.output()
        return time.monotonic() - begun

    def kill_everything(self) -> None:
        """`kill -9` of every process of the stack, the supervisor first."""
        assert self.process is not None
        pids = [self.process.pid, *self.info["pids"].values()]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def kill(self, name: str) -> None:
        """`kill -9` of one process; returns when its successor runs."""
        before = self.info["pids"][name]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.info["pids"][name] not in (0, before), what=f"a new {name}")

    def close(self) -> None:
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    # --- what people do -------------------------------------------------------------------------

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A `gamepipe` command against this stack."""
        return subprocess.run(
            [*GAMEPIPE, *arguments],
            env=self.environment | {"GAMEPIPE_URL": self.info["url"]},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )

    def submit(self, text: str, **body: Any) -> str:
        """The new pipeline's id."""
        answer = self.http.post("/pipelines", json={"definition": text, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, pipeline_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/pipelines/{pipeline_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def try_get(self, pipeline_id: str) -> dict[str, Any] | None:
        """None while no gateway answers."""
        with suppress(httpx.TransportError):
            return self.get(pipeline_id)
        return None

    def finish(self, pipeline_id: str, *, seconds: float = 90) -> dict[str, Any]:
        """The record once it is terminal."""

        def ended() -> dict[str, Any] | None:
            record = self.try_get(pipeline_id)
            done = record and record["state"] in ("completed", "failed", "canceled")
            return record if done else None

        return dict(wait_for(ended, seconds=seconds, what=f"{pipeline_id} to end"))

    def lines(self, pipeline_id: str, **query: Any) -> list[str]:
        """Every log line; follows until the last one."""
        answer = self.http.get(f"/pipelines/{pipeline_id}/logs", params={"follow": True, **query})
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()

    def lines_now(self, pipeline_id: str) -> list[str]:
        """What is stored by now."""
        return self.http.get(f"/pipelines/{pipeline_id}/logs").text.splitlines()

    def wait_line(self, pipeline_id: str, text: str) -> None:
        """Until a line is stored."""

        def seen() -> bool:
            answer = self.http.get(f"/pipelines/{pipeline_id}/logs", params={"search": text})
            return text in answer.text

        wait_for(seen, what=f"line {text!r}")
