"""The small process above one command step; it outlives the agent.

Started by `gamepipe.agent.launch` with `python -S -E -I`, so it imports only what starts fast: the
standard library's small modules, `frame` and `descendant`. Layout of its folder::

    lock         flock, held as long as the shim lives
    void         made by the agent: this launch was given up, do not start
    state.json   ids and start time, once the step has started
    out-<n>.seg  output frames; <n> is the offset of the first one in the whole output
    ack          how far the agent has read; the shim stays at most `AHEAD_BYTES` ahead of it
    wake         FIFO to the agent: a byte for every piece of news, end of file when the shim dies
    control      FIFO from the agent: T (terminate), K (kill), A (ack has changed)
    exit.json    how it ended, once nothing of the step runs any more
"""

import fcntl
import os
import select
import signal
import sys
import time

from gamepipe.agent.descendant import Processes, start_ticks
from gamepipe.agent.frame import STDERR, STDOUT, OutputWriter, now_us

AHEAD_BYTES = 8 * 1024 * 1024
BUSY_EXIT = 75
"""Exit status of the starter: another shim has this folder, or it was given up."""
RECORD_BYTES = 1024
"""Room that the agent reserves for state and exit, so that a full disk cannot hide an end."""
_SCRIPT_DESCRIPTOR = 3
_OWN_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)
_READ_BYTES = 64 * 1024
_LEFTOVER_SECONDS = 0.5
_LEFTOVER_KILL_SECONDS = 2.0
_KILL_ROUND_SECONDS = 0.05


def _record(name: str, text: str) -> None:
    """Fill the file that the agent reserved and show it under its name."""
    descriptor = os.open(f".{name}", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode().ljust(RECORD_BYTES))
    os.close(descriptor)
    os.rename(f".{name}", name)


class Step:
    """What to run, from standard input: workspace, script and `NAME=value`s, each ended by NUL."""

    def __init__(self, payload: bytes) -> None:
        self.workspace, self.script, *pairs = payload.split(b"\0")[:-1]
        self.environment: dict[bytes, bytes] = {}
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            self.environment[name] = value


class Shim:
    """Starts the step and stays until nothing of it runs any more."""

    def __init__(self, wake: int, control: int) -> None:
        self._wake = wake
        self._control = control
        self._ack = os.open("ack", os.O_RDONLY | os.O_CREAT, 0o600)
        self._signals = _signal_pipe()
        self._writer = OutputWriter()
        self._processes = Processes()
        self._pipes: dict[int, int] = {}
        self._acknowledged = 0
        self._stopped = self._killing = False
        self._leftovers_asked = False
        self._leftovers_until = 0.0

    def start(self, step: Step) -> None:
        gate, opened = os.pipe()
        set_up, is_set_up = os.pipe()
        ends = {stream: os.pipe() for stream in (STDOUT, STDERR)}
        started_us = now_us()
        pid = os.fork()
        if pid == 0:
            os.close(opened)
            _lead_session(is_set_up)
            _become_step(gate, ends[STDOUT][1], ends[STDERR][1], step)
        os.close(gate)
        os.close(is_set_up)
        os.read(set_up, 1)
        os.close(set_up)
        for stream, (reader, writer) in ends.items():
            os.close(writer)
            os.set_blocking(reader, False)
            self._pipes[reader] = stream
        self._processes.main = pid
        _record_state(pid, started_us)
        os.write(opened, b"g")
        os.close(opened)
        self._notify()

    def run(self) -> None:
        """Follow the step to its end and write it down."""
        self._processes.reap()
        while self._processes.some_run:
            self._press()
            self._poll()
            self._processes.reap()
        for pipe, stream in list(self._pipes.items()):
            while self._read(pipe, stream):
                pass
            self._writer.end(stream)
        reason = "DISK_FULL" if self._writer.disk_full else ""
        _record(
            "exit.json",
            f'{{"code": {self._processes.code or 0}, "ended_us": {self._processes.ended_us}, '
            f'"stopped": {int(self._stopped)}, "reason": "{reason}", '
            f'"size": {self._writer.offset}}}',
        )
        self._notify()

    # --- news -----------------------------------------------------------------------------------

    def _poll(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        if self._killing or self._writer.offset - self._acknowledged < AHEAD_BYTES:
            for pipe in self._pipes:
                poll.register(pipe, select.POLLIN)
        for descriptor, _ in poll.poll(self._patience_ms()):
            if descriptor == self._control:
                self._obey(os.read(descriptor, 4096))
            elif descriptor == self._signals:
                if signal.SIGTERM in os.read(descriptor, 4096):
                    self._obey(b"T")
            else:
                self._read(descriptor, self._pipes[descriptor])

    def _read(self, pipe: int, stream: int) -> bool:
        """Read once; False when there is nothing more for now, or for good."""
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._writer.feed(stream, data)
            self._killing = self._killing or self._writer.disk_full
        else:
            self._writer.end(stream)
            del self._pipes[pipe]
            os.close(pipe)
        self._notify()
        return bool(data)

    def _notify(self) -> None:
        try:
            os.write(self._wake, b".")
        except BlockingIOError:
            return  # Full: the agent has news enough to wake up for.

    def _obey(self, commands: bytes) -> None:
        if b"A" in commands:
            self._acknowledged = int(os.pread(self._ack, 20, 0) or b"0")
        if b"T" not in commands and b"K" not in commands:
            return
        self._processes.reap()
        self._stopped = self._stopped or self._processes.code is None
        self._killing = self._killing or b"K" in commands
        if not self._killing and self._processes.some_run:
            self._processes.signal(signal.SIGTERM)

    # --- pressure -------------------------------------------------------------------------------

    def _press(self) -> None:
        """Kill when it is time; end what the script left running behind it."""
        if self._killing:
            self._processes.signal(signal.SIGKILL)
        elif self._leftovers_wait() == 0.0:
            if self._leftovers_asked:
                self._killing = True
            self._processes.signal(signal.SIGKILL if self._killing else signal.SIGTERM)
            self._leftovers_asked = True
            self._leftovers_until = time.monotonic() + _LEFTOVER_KILL_SECONDS

    def _leftovers_wait(self) -> float | None:
        """Seconds until leftovers are pressed (further); None while the script runs, or when a
        stop with its own grace is under way."""
        if self._processes.code is None or self._stopped:
            return None
        if not self._leftovers_until:
            self._leftovers_until = time.monotonic() + _LEFTOVER_SECONDS
        return max(0.0, self._leftovers_until - time.monotonic())

    def _patience_ms(self) -> int | None:
        if self._killing:
            return int(_KILL_ROUND_SECONDS * 1000)
        wait = self._leftovers_wait()
        return None if wait is None else int(wait * 1000) + 1


def _signal_pipe() -> int:
    """A descriptor that becomes readable, with the signal's number, for each signal."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in _OWN_SIGNALS:
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reader


def _record_state(pid: int, started_us: int) -> None:
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    own = os.getpid()
    _record(
        "state.json",
        f'{{"shim": {own}, "shim_ticks": {start_ticks(own)}, "pid": {pid}, '
        f'"pid_ticks": {start_ticks(pid)}, "boot": "{boot}", "started_us": {started_us}}}',
    )


def _lead_session(is_set_up: int) -> None:
    """In the child: from here on it can be signalled as a group, and signals mean what they do."""
    os.setsid()
    for number in (*_OWN_SIGNALS, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.write(is_set_up, b"s")
    os.close(is_set_up)


def _become_step(gate: int, out: int, err: int, step: Step) -> None:
    """In the child: wait until it is on record, then become `/bin/sh -e` on the script."""
    try:
        if os.read(gate, 1) != b"g":
            os._exit(127)  # The shim died: nobody would know of this process.
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(step.workspace)
        arguments = [b"/bin/sh", b"-e", _show_script(step.script)]
        os.execve("/bin/sh", arguments, step.environment)  # noqa: S606 - the shell is the point
    except OSError as error:
        os.write(2, f"the step could not start: {error}\n".encode())
    finally:
        os._exit(126)


def _show_script(script: bytes) -> bytes:
    """Its path: a file in memory, for a script may hold secrets, which belong on no disk."""
    memory = os.memfd_create("script")
    os.write(memory, script)
    os.dup2(memory, _SCRIPT_DESCRIPTOR)
    return b"/proc/self/fd/%d" % _SCRIPT_DESCRIPTOR


def _read_all(descriptor: int) -> bytes:
    data = b""
    while chunk := os.read(descriptor, _READ_BYTES):
        data += chunk
    return data


def main() -> None:
    """Take the lock, leave the starter behind, run the step."""
    step = Step(_read_all(0))
    os.chdir(sys.argv[-1])
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(BUSY_EXIT)
    if os.path.exists("void") or os.path.exists("state.json"):
        os._exit(BUSY_EXIT)
    # Before the starter leaves, so that the agent finds both FIFOs taken.
    wake, control = (os.open(name, os.O_RDWR | os.O_NONBLOCK) for name in ("wake", "control"))
    if os.fork():
        os._exit(0)
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    shim = Shim(wake, control)
    shim.start(step)
    shim.run()
    os._exit(0)
