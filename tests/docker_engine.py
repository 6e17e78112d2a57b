"""A Docker engine of our own for tests: its own folder, its own bridge, no firewall rules.

It runs beside another engine and leaves nothing behind. Where the machine lacks a capability
(CAP_SYS_RESOURCE in many containers), its runtime leaves that one out, so that privileged
containers still start. Where it lacks a GPU, a hook that does nothing stands in for NVIDIA's, so
that GPU requests are accepted and can be inspected.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

_START_SECONDS = 40.0
_RUNTIME = """#!{python} -IS
import json, os, sys

LACKING = {lacking!r}

def soften(path, find):
    with open(path) as file:
        config = json.load(file)
    process = find(config)
    process.pop("rlimits", None)
    for names in (process.get("capabilities") or {{}}).values():
        names[:] = [name for name in names if name not in LACKING]
    with open(path, "w") as file:
        json.dump(config, file)

arguments = sys.argv[1:]
if "create" in arguments and "--bundle" in arguments:
    bundle = arguments[arguments.index("--bundle") + 1]
    soften(os.path.join(bundle, "config.json"), lambda config: config["process"])
if "exec" in arguments and "--process" in arguments:
    soften(arguments[arguments.index("--process") + 1], lambda config: config)
os.execv({runc!r}, [{runc!r}, *arguments])
"""
_CAPABILITIES = {24: "CAP_SYS_RESOURCE"}
"""Those that plain containers give no root, and that Docker asks for in privileged ones."""


@dataclass
class OwnEngine:
    """A dockerd of our own below `folder`; `stop` and `start` restart it with its state kept."""

    folder: Path
    driver: str = "overlay2"
    extra: tuple[str, ...] = ()
    """More arguments of dockerd."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def bridge(self) -> str:
        return f"gp{self.folder.name[-8:]}"

    def prepare(self) -> None:
        """Write the runtime and the hook, and make the bridge."""
        runc = shutil.which("runc") or "/usr/sbin/runc"
        self._write(
            "runtime", _RUNTIME.format(python=sys.executable, lacking=_lacking(), runc=runc)
        )
        self._write("bin/nvidia-container-runtime-hook", "#!/bin/sh\nexit 0\n")
        _run("ip", "link", "add", "name", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{_free_network()}.1/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def start(self) -> None:
        """Start dockerd and wait until it answers; raises RuntimeError with its last words."""
        log = (self.folder / "dockerd.log").open("ab")
        self.process = subprocess.Popen(
            [*_dying_with_us(), *self._command()],
            env={**os.environ, "PATH": f"{self.folder}/bin:{_path()}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(self._last_words())
            time.sleep(0.05)

    def stop(self) -> None:
        """End dockerd by its id; what it runs ends with it, unless it has --live-restore."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def remove(self) -> None:
        """End everything and leave nothing behind."""
        self._end_containers()
        self.stop()
        self._end_leftovers()
        _run("ip", "link", "delete", self.bridge, check=False)
        for mount in _mounts_below(self.folder):
            _run("umount", "-l", mount, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            "dockerd",
            f"--host={self.url}",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/dockerd.pid",
            f"--storage-driver={self.driver}",
            f"--bridge={self.bridge}",
            "--iptables=false",
            f"--add-runtime=softened={folder}/runtime",
            "--default-runtime=softened",
            "--shutdown-timeout=2",
            *self.extra,
        ]

    def _answers(self) -> bool:
        return (self.folder / "docker.sock").exists() and not _docker(
            self.url, "version"
        ).returncode

    def _end_containers(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        listed = _docker(self.url, "ps", "--all", "--quiet", "--no-trunc").stdout.split()
        if listed:
            _docker(self.url, "rm", "--force", "--volumes", *(one.decode() for one in listed))

    def _end_leftovers(self) -> None:
        """Only an engine that did not end in order leaves processes; those of this folder go."""
        ours = f"{self.folder}/exec/containerd".encode()
        parents = {
            pid: _parent_of(pid) for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
        }
        doomed = {pid for pid in parents if ours in _command_of(pid)}
        while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
            doomed |= more
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def _last_words(self) -> str:
        lines = (self.folder / "dockerd.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-4:])


def start_own_engine() -> OwnEngine:
    """A running engine; raises RuntimeError when none can be started here."""
    words = ""
    for driver in ("overlay2", "vfs"):
        engine = OwnEngine(folder=Path(tempfile.mkdtemp(prefix="gpd", dir="/tmp")), driver=driver)
        try:
            engine.prepare()
            engine.start()
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            words = str(error)
            engine.remove()
        else:
            return engine
    raise RuntimeError(words)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def which(name: str) -> str | None:
    return shutil.which(name, path=_path())


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(
        [which(command[0]) or command[0], *command[1:]], check=check, capture_output=True
    )


def _docker(url: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    docker = which("docker") or "docker"
    return subprocess.run([docker, "--host", url, *arguments], capture_output=True, check=False)


def _dying_with_us() -> list[str]:
    """A killed test run takes its engine along."""
    setpriv = which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _free_network() -> str:
    """The first three numbers of a /24 that no other engine of ours has."""
    taken = subprocess.run(
        [which("ip") or "ip", "-4", "addr"], capture_output=True, text=True, check=True
    ).stdout
    numbers = [(os.getpid() + offset) % 256 for offset in range(256)]
    return next(net for n in numbers if f"{(net := f'10.213.{n}')}." not in taken)


def _lacking() -> list[str]:
    """Names of capabilities that this machine gives no container."""
    status = Path("/proc/self/status").read_text()
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd"))
    held = int(bounding.split()[1], 16)
    return [name for bit, name in _CAPABILITIES.items() if not held >> bit & 1]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, the deepest first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True)
