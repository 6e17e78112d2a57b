"""Whose the data directory is: one agent's at a time, and one node's for good."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from gamepipe.agent.folder import write_durably
from gamepipe.model.errors import AlreadyExists, InvalidRequest

_log = structlog.get_logger()

_NODE = "node-id"


@contextmanager
def hold(data_dir: Path, node_id: str) -> Iterator[None]:
    """Keep every other agent off the directory.

    Raises `AlreadyExists` while another one runs, and `InvalidRequest` for what another node left:
    under this one's id its steps would be reported, and its games not be found.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, data_dir)
        _claim(data_dir, node_id)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyExists(
            f"another agent uses {data_dir}: stop it, or give this one another --data-dir"
        ) from None


def _claim(data_dir: Path, node_id: str) -> None:
    path = data_dir / _NODE
    owner = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if owner and owner != node_id:
        raise InvalidRequest(
            f"{data_dir} is of node {owner!r}, not of {node_id!r}: start the agent with --node-id "
            f"{owner}, or with another --data-dir; on a machine that was copied from another one, "
            "remove the directory"
        )
    if not owner:
        _sign(path, node_id)


def _sign(path: Path, node_id: str) -> None:
    """On a full disk the next start does it: an agent that runs steps on can free the disk."""
    try:
        write_durably(path, f"{node_id}\n".encode())
    except OSError as error:
        _log.error(
            "data_dir.unwritable",
            action="data_dir.unwritable",
            error=str(error),
            remedy="free disk space below the agent's data directory",
        )
