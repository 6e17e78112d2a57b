"""The processes below the shim of a command step. Imported by the shim: only what starts fast."""

import ctypes
import os

from gamepipe.agent.frame import now_us

_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int) -> int:
    """When the kernel started the process; with the pid it names a process for good."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


class Processes:
    """The step's processes: all descendants, for the shim is their subreaper."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.main = 0
        self.code: int | None = None
        """Exit status of the script (negative: the signal); None while it runs."""
        self.ended_us = 0
        self.some_run = True

    def reap(self) -> None:
        """Collect what ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.some_run = False
                return
            if pid == 0:
                return
            if pid == self.main:
                self.code, self.ended_us = os.waitstatus_to_exitcode(status), now_us()

    def signal(self, number: int) -> None:
        """Send a signal to all of them, the script's group at once.

        One that took another user's rights is out of reach; it is waited for.
        """
        group = 0
        if self.code is None:  # Not reaped yet, so nobody else has this id.
            group = self.main
            _send(-group, number)
        for pid in _descendants(os.getpid()):
            if not group or _group_of(pid) != group:
                _send(pid, number)


def _send(pid: int, number: int) -> bool:
    """Whether it was there and within reach; a negative `pid` means a group."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found
