"""One start of a command step on disk: its shim's folder, as the agent handles it.

A shim holds a lock on its folder as long as it lives, so that whether it lives needs no pid. The
layout of the folder stands in `gamepipe.agent.shim`.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict

from gamepipe.agent.descendant import start_ticks
from gamepipe.agent.shim import BUSY_EXIT, RECORD_BYTES

_log = structlog.get_logger()
_ROOT = Path(__file__).resolve().parents[2]
_BOOT = "import sys; sys.path.append(sys.argv[1]); from gamepipe.agent.shim import main; main()"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_GONE_SECONDS = 10.0
LAUNCH_VARIABLE = "GAMEPIPE_LAUNCH"
"""In the environment of the step's processes: marks them as those of one launch."""


class LaunchState(BaseModel):
    """`state.json`: the step has started."""

    model_config = ConfigDict(frozen=True)
    shim: int
    shim_ticks: int
    pid: int
    pid_ticks: int
    boot: str
    started_us: int


class LaunchEnd(BaseModel):
    """`exit.json`: nothing of the step runs any more; `size` is that of all its output."""

    model_config = ConfigDict(frozen=True)
    code: int
    ended_us: int
    stopped: bool
    reason: str
    size: int


class LaunchFailed(Exception):
    """The shim did not come up; the message holds what it said."""


class Launch:
    """A folder `run-<n>` below the attempt's. Its methods block, but for a moment only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = int(folder.name.removeprefix("run-"))

    @classmethod
    def all(cls, attempt_dir: Path) -> list["Launch"]:
        """In the order they were made."""
        found = [cls(path) for path in attempt_dir.glob("run-*")]
        return sorted(found, key=lambda launch: launch.number)

    @classmethod
    def prepare(cls, attempt_dir: Path, number: int) -> "Launch":
        """Make the folder, with room for what must be written when the disk is full."""
        folder = attempt_dir / f"run-{number}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("wake", "control"):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(folder / name, 0o600)
        for name in (".state.json", ".exit.json"):
            (folder / name).write_bytes(b" " * RECORD_BYTES)
        launch = cls(folder)
        launch.acknowledge(0)
        return launch

    def start(self, workspace: Path, script: str, environment: Mapping[str, str]) -> None:
        """Start the shim. Raises `LaunchFailed`; returns at once when one has started here."""
        fields = [str(workspace), script, *(f"{k}={v}" for k, v in environment.items())]
        fields.append(f"{LAUNCH_VARIABLE}={self.folder}")
        payload = b"".join(os.fsencode(text) + b"\0" for text in fields)
        command = [sys.executable, "-S", "-E", "-I", "-c", _BOOT, str(_ROOT), str(self.folder)]
        with (self.folder / "shim.err").open("ab") as errors:
            starter = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, cwd="/"
            )
            starter.communicate(payload)
        if starter.returncode not in {0, BUSY_EXIT}:
            raise LaunchFailed(f"the shim did not start: {self.complaint()}")

    def is_alive(self) -> bool:
        """Whether its shim lives."""
        with self._lock() as free:
            return not free

    def state(self) -> LaunchState | None:
        text = self._text("state.json")
        return LaunchState.model_validate_json(text) if text else None

    def end(self) -> LaunchEnd | None:
        text = self._text("exit.json")
        return LaunchEnd.model_validate_json(text) if text else None

    def complaint(self) -> str:
        """What the shim wrote on its standard error."""
        return (self._text("shim.err") or "it said nothing")[-1000:].strip()

    def send(self, command: bytes) -> None:
        """Tell the shim; one that is gone needs no telling."""
        with contextlib.suppress(OSError):
            control = os.open(self.folder / "control", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(control, command)
            finally:
                os.close(control)

    def acknowledge(self, offset: int) -> None:
        """The output below `offset` is kept elsewhere. Written in place: a full disk takes it."""
        descriptor = os.open(self.folder / "ack", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"%020d" % offset)
        finally:
            os.close(descriptor)
        if offset:
            self.send(b"A")

    def give_up(self) -> bool:
        """Kill what a dead shim left and let none start here later; False: one lives after all.

        Raises OSError.
        """
        with self._lock() as free:
            if not free:
                return False
            (self.folder / "void").touch()
        if self.end() is None:
            self._kill_orphans()
        return True

    # --- small parts ----------------------------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Try to hold the shim's place for a moment."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            yield True
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _kill_orphans(self) -> None:
        state = self.state()
        if state is None or state.boot != _BOOT_ID.read_text().strip():
            return
        deadline = time.monotonic() + _GONE_SECONDS
        while orphans := list(self._orphans(state)):
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                _log.error(
                    "orphans.not_killed",
                    action="orphans.not_killed",
                    pids=orphans,
                    remedy="these processes of a step cannot be killed; restart the machine",
                )
                return
            time.sleep(0.01)

    def _orphans(self, state: LaunchState) -> Iterator[int]:
        mark = f"\0{LAUNCH_VARIABLE}={self.folder}\0".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            pid = int(entry.name)
            with contextlib.suppress(OSError, ValueError):
                if _is_zombie(pid):
                    continue
                environment = b"\0" + (entry / "environ").read_bytes()
                if mark in environment or _is_in_session(pid, state):
                    yield pid


def _is_zombie(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return stat.rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def _is_in_session(pid: int, state: LaunchState) -> bool:
    """Whether it belongs to the script's session; its id is not given anew while anyone is in it,
    so only a leader that is another process than ours can mislead."""
    if os.getsid(pid) != state.pid:
        return False
    try:
        return start_ticks(state.pid) == state.pid_ticks
    except OSError:
        return True
