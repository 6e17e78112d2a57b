"""Where the agent keeps its files, below one data directory of its own.

::

    workspaces/<pipeline>/g<n>          shared by the steps of one generation
    attempts/<pipeline>/g<n>/step-<i>/a<k>   private files of an attempt (mode 0700)
    journal/<pipeline>/g<n>/...         what became of attempts, stops that came early
    spool/<pipeline>/g<n>/step-<i>/a<k>      log lines that the gateway has not acknowledged
"""

import contextlib
import errno
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from gamepipe.model.record import AttemptKey

_PIPELINE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class BadPipelineId(ValueError):
    """An id that is no folder name; never met with a gateway that validates."""


@dataclass(frozen=True, slots=True)
class AgentFolders:
    """Paths below the data directory; nothing is created by asking for one."""

    root: Path

    @property
    def workspaces(self) -> Path:
        return self.root / "workspaces"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def workspace(self, pipeline_id: str, generation: int) -> Path:
        return self.workspaces / checked_id(pipeline_id) / f"g{generation}"

    def attempt(self, key: AttemptKey) -> Path:
        checked_id(key.pipeline_id)
        return self.attempts / key.path

    def remove_generation(self, pipeline_id: str, generation: int) -> None:
        """Remove workspace and attempt files. Raises OSError, naming what it could not remove."""
        remove_tree(self.workspace(pipeline_id, generation))
        remove_tree(self.attempts / pipeline_id / f"g{generation}")


def checked_id(pipeline_id: str) -> str:
    if not _PIPELINE_ID.fullmatch(pipeline_id):
        raise BadPipelineId(f"{pipeline_id!r} is not a pipeline id")
    return pipeline_id


def remove_tree(folder: Path) -> None:
    """Remove a folder, and the one above it when that became empty. Absent is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a torn one; once this
    returns, the new one outlives a machine that stops."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise


def make_folder(folder: Path) -> None:
    """Make it, and what is missing above it, to outlive a machine that stops."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(parents=True, exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _DISK_FULL
