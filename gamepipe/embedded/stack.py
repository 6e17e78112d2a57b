"""The embedded stack: Temporal, gateway, worker and one local agent under one supervisor.

Every process keeps its state in the data directory and is started again when it dies, so that
`kill -9` of any of them, or of all, loses nothing.
"""

import asyncio
import fcntl
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx

from gamepipe.config import Settings
from gamepipe.embedded.child import Child
from gamepipe.embedded.info import INFO_FILE, StackInfo, read_info
from gamepipe.embedded.port import Port, pick_port
from gamepipe.embedded.temporal import TemporalServer
from gamepipe.model.errors import AlreadyExists, Unavailable

READY_SECONDS = 60.0
LOCK_SECONDS = 5.0
"""Processes of a stack that was killed may need a moment to follow it."""
STOP_SECONDS = 1.2

DEFAULT_PORTS = {"rest": 8080, "grpc": 50061, "temporal": 7233, "temporal-ui": 8233}


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    data_dir: Path
    allow_commands: bool = False
    node_id: str = "local"
    facts: Path | None = None
    free_ports: bool = False
    """Take free ports at once instead of the usual ones (for tests and demos)."""
    token_file: Path | None = None
    """Bearer token that the gateway asks for, and the agent sends."""


class Stack:
    """Started once with `start`, ended with `stop`."""

    def __init__(self, options: StackOptions) -> None:
        self._options = replace(options, data_dir=options.data_dir.resolve())
        self._data_dir = self._options.data_dir
        self._lock_fd = -1
        self._ports: dict[str, Port] = {}
        self._temporal: TemporalServer | None = None
        self._children: dict[str, Child] = {}

    @property
    def moved_ports(self) -> list[Port]:
        """Those that are not the usual ones, because somebody else has them."""
        if self._options.free_ports:
            return []
        return [port for port in self._ports.values() if port.is_moved]

    @property
    def info(self) -> StackInfo:
        pids = {name: child.pid or 0 for name, child in self._children.items()}
        if self._temporal is not None:
            pids["temporal"] = self._temporal.pid or 0
        return StackInfo(
            pid=os.getpid(),
            url=f"http://127.0.0.1:{self._number('rest')}",
            grpc_address=f"127.0.0.1:{self._number('grpc')}",
            temporal_address=f"127.0.0.1:{self._number('temporal')}",
            temporal_ui_url=f"http://127.0.0.1:{self._number('temporal-ui')}",
            pids=pids,
        )

    async def start(self) -> None:
        """Return once pipelines can run.

        Raises:
            AlreadyExists: another stack runs on this data directory.
            Unavailable: a process did not come up; its last words are in the message.
        """
        await self._lock()
        taken = set[int]()
        for name, wanted in DEFAULT_PORTS.items():
            number = 0 if self._options.free_ports else wanted
            self._ports[name] = pick_port(name, number, taken=taken)
        try:
            await self._start_temporal()
            for child in self._make_children():
                self._children[child.name] = child
                await child.start()
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        self._write_info()

    async def stop(self) -> None:
        """End everything within 3 s; running steps of the agent go on and are adopted later."""
        await asyncio.gather(
            *(child.stop(seconds=STOP_SECONDS) for child in self._children.values())
        )
        if self._temporal is not None:
            await self._temporal.stop()
        (self._data_dir / INFO_FILE).unlink(missing_ok=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def watch(self) -> None:
        """Keep `stack.json` true while processes are started again; runs until cancelled."""
        written = self.info
        while True:
            await asyncio.sleep(0.5)
            if self.info != written:
                written = self.info
                self._write_info()

    # --- parts ----------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        return self._ports[name].number

    async def _lock(self) -> None:
        """One stack per data directory. Its processes inherit the lock, so that a new stack
        waits for those of one that was killed."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
        while True:
            if _locked(self._lock_fd):
                return
            running = read_info(self._data_dir)
            if running is not None or asyncio.get_running_loop().time() > deadline:
                os.close(self._lock_fd)
                self._lock_fd = -1
                raise AlreadyExists(self._in_use(running))
            await asyncio.sleep(0.05)

    def _in_use(self, running: StackInfo | None) -> str:
        who = f" (process {running.pid}, {running.url})" if running else ""
        return (
            f"another stack runs on {self._data_dir}{who}: use that one, stop it first, or choose "
            "another --data-dir"
        )

    async def _start_temporal(self) -> None:
        self._temporal = TemporalServer(
            data_dir=self._data_dir,
            port=self._number("temporal"),
            ui_port=self._number("temporal-ui"),
            keep=True,
            retention=Settings().retention + timedelta(days=1),
            pass_fds=(self._lock_fd,),
        )
        await self._temporal.start()

    def _make_children(self) -> list[Child]:
        commands = {
            "gateway": [sys.executable, "-m", "gateway"],
            "worker": [sys.executable, "-m", "worker"],
            "agent": [sys.executable, "-m", "gamepipe.cli", "agent", *self._agent_flags()],
        }
        return [
            Child(
                name,
                command,
                environment=self._environment(),
                log_file=self._data_dir / "log" / f"{name}.log",
                pass_fds=(self._lock_fd,),
            )
            for name, command in commands.items()
        ]

    def _agent_flags(self) -> list[str]:
        flags = ["--allow-commands"] if self._options.allow_commands else []
        if self._options.facts is not None:
            flags += ["--facts", str(self._options.facts.resolve())]
        return flags

    def _environment(self) -> dict[str, str]:
        token_file = self._options.token_file
        names = ("GAMEPIPE_TOKEN_FILE", "GAMEPIPE_AGENT_TOKEN_FILE") if token_file else ()
        return {
            **{name: str(token_file) for name in names},
            "GAMEPIPE_STORE_URL": os.environ.get("GAMEPIPE_STORE_URL")
            or f"sqlite:///{self._data_dir / 'gamepipe.db'}",
            "GAMEPIPE_TEMPORAL_ADDRESS": f"127.0.0.1:{self._number('temporal')}",
            "GAMEPIPE_TEMPORAL_UI_URL": f"http://127.0.0.1:{self._number('temporal-ui')}",
            "GAMEPIPE_REST_PORT": str(self._number("rest")),
            "GAMEPIPE_GRPC_PORT": str(self._number("grpc")),
            "GAMEPIPE_AGENT_NODE_ID": self._options.node_id,
            "GAMEPIPE_AGENT_GATEWAYS": f"127.0.0.1:{self._number('grpc')}",
            "GAMEPIPE_AGENT_DATA_DIR": str(self._data_dir / "agent"),
        }

    async def _until_ready(self) -> None:
        """The gateway answers, and the local node is online."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        async with httpx.AsyncClient(base_url=self.info.url, trust_env=False) as client:
            while not await self._is_ready(client):
                broken = next((c for c in self._children.values() if c.restarts > 1), None)
                if broken or asyncio.get_running_loop().time() > deadline:
                    raise Unavailable(self._did_not_start(broken))
                await asyncio.sleep(0.05)

    def _did_not_start(self, broken: Child | None) -> str:
        children = [broken] if broken else list(self._children.values())
        words = "\n".join(f"--- {child.name}:\n{child.last_lines()}" for child in children)
        return f"the stack did not start; logs are in {self._data_dir / 'log'}\n{words}"

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            if (await client.get("/readyz")).status_code != 200:
                return False
            path = f"/api/v1/nodes/{self._options.node_id}"
            answer = await client.get(path, headers=self._authorization())
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["connectivity"] == "online"

    def _authorization(self) -> dict[str, str]:
        if self._options.token_file is None:
            return {}
        token = self._options.token_file.read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {token}"}

    def _write_info(self) -> None:
        path = self._data_dir / INFO_FILE
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self.info), indent=2), encoding="utf-8")
        draft.replace(path)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
