"""What the agent remembers of attempts on disk, so that no end is lost and nothing runs twice."""

import asyncio
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from gamepipe.agent.folder import checked_id, write_durably
from gamepipe.agent.plan import names_values
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import StepType
from gamepipe.wire import StepAssignment, StepResult, StopStep

_log = structlog.get_logger()
_NUMBERS = re.compile(r"g(\d+)/step-(\d+)/a(\d+)\.json$")


@dataclass(frozen=True, kw_only=True)
class AttemptEntry:
    """One attempt; `result` None: it has begun and no end is known.

    `run_id` is the workflow run that asked for it: entries of another run (the pipeline was made
    anew under its id, or reset) say nothing about this one.
    """

    run_id: str
    step_type: StepType
    begun_at: datetime
    clean_after: bool = False
    stop_when_cut_off: bool = False
    grace_seconds: float = 10.0
    names_values: bool = True
    """Its step names envs or secrets, which its output may show."""
    result: StepResult | None = None

    @classmethod
    def of(cls, assignment: StepAssignment, run_id: str, *, begun_at: datetime) -> "AttemptEntry":
        return cls(
            run_id=run_id,
            step_type=assignment.step.type,
            begun_at=begun_at,
            clean_after=assignment.clean_after,
            stop_when_cut_off=assignment.stop_when_cut_off,
            grace_seconds=assignment.grace_seconds,
            names_values=names_values(assignment.scope),
        )


_ENTRY = TypeAdapter(AttemptEntry)


class AttemptJournal:
    """One small file per attempt, and one per early stop; every write is atomic.

    What cannot be written because the disk is full is remembered in memory until it can.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unwritten: dict[Path, bytes] = {}
        self._writing = threading.Lock()
        self._unfinished = {key: entry for key, entry in self.entries() if entry.result is None}

    async def begin(self, key: AttemptKey, entry: AttemptEntry) -> None:
        """Raises OSError: an attempt that cannot be remembered must not start."""
        await asyncio.to_thread(write_durably, self._path(key), _ENTRY.dump_json(entry))
        self._unfinished[key] = entry

    async def finish(self, key: AttemptKey, entry: AttemptEntry, result: StepResult) -> None:
        await self._keep(self._path(key), _ENTRY.dump_json(replace(entry, result=result)))
        self._unfinished.pop(key, None)

    def entry(self, key: AttemptKey, run_id: str) -> AttemptEntry | None:
        """The attempt as far as this workflow run knows it."""
        entry = self.any_entry(key)
        return entry if entry is not None and entry.run_id == run_id else None

    def any_entry(self, key: AttemptKey) -> AttemptEntry | None:
        """The attempt, whichever workflow run it belonged to."""
        return self._read(self._path(key))

    def forget(self, key: AttemptKey) -> None:
        path = self._path(key)
        self._unfinished.pop(key, None)
        self._unwritten.pop(path, None)
        path.unlink(missing_ok=True)

    async def mark_stopped(self, order: StopStep, run_id: str) -> None:
        """Remember a stop, so that a `run_step` that comes after it is refused."""
        path = self._stop_path(order.pipeline_id, order.generation, order)
        await self._keep(path, run_id.encode())

    def is_stopped(self, key: AttemptKey, run_id: str) -> bool:
        step = self._step_folder(key.pipeline_id, key.generation, key.step_index)
        return any(
            self._bytes(step / name) == run_id.encode()
            for name in ("stop-all", f"stop-a{key.attempt}")
        )

    def unfinished(self) -> tuple[tuple[AttemptKey, AttemptEntry], ...]:
        """Every attempt that has begun and whose end is not known."""
        return tuple(self._unfinished.items())

    def entries(self, pipeline_id: str = "") -> Iterator[tuple[AttemptKey, AttemptEntry]]:
        """Every attempt (of one pipeline)."""
        pattern = f"{checked_id(pipeline_id) if pipeline_id else '*'}/g*/step-*/a*.json"
        for path in sorted(self._folder.glob(pattern)):
            numbers = _NUMBERS.search(path.as_posix())
            entry = self._read(path)
            if numbers and entry:
                generation, step_index, attempt = map(int, numbers.groups())
                yield (
                    AttemptKey(
                        pipeline_id=path.relative_to(self._folder).parts[0],
                        generation=generation,
                        step_index=step_index,
                        attempt=attempt,
                    ),
                    entry,
                )

    def newest(self) -> list[tuple[AttemptKey, AttemptEntry]]:
        """The attempt of each generation that was begun last; a pipeline made anew under its id
        has begun later than what its predecessor left."""
        newest: dict[tuple[str, int], tuple[AttemptKey, AttemptEntry]] = {}
        for key, entry in self.entries():
            generation = key.pipeline_id, key.generation
            if generation not in newest or newest[generation][1].begun_at < entry.begun_at:
                newest[generation] = key, entry
        return list(newest.values())

    def prune(self, *, before: datetime) -> None:
        """Forget pipelines of which nothing changed since `before` and nothing is unfinished."""
        for folder in [path for path in self._folder.glob("*") if path.is_dir()]:
            newest = max((f.stat().st_mtime for f in folder.rglob("*")), default=0.0)
            busy = any(entry.result is None for _, entry in self.entries(folder.name))
            if newest < before.timestamp() and not busy:
                shutil.rmtree(folder, ignore_errors=True)

    async def _keep(self, path: Path, content: bytes) -> None:
        self._unwritten[path] = content
        await asyncio.to_thread(self._write_out)

    def _write_out(self) -> None:
        with self._writing:
            for waiting, held in list(self._unwritten.items()):
                if not self._write(waiting, held):
                    return

    def _write(self, waiting: Path, held: bytes) -> bool:
        """Whether it is on the disk; in memory it is found until then."""
        try:
            write_durably(waiting, held)
        except OSError as error:
            _log.error(
                "journal.unwritable",
                action="journal.unwritable",
                path=str(waiting),
                error=str(error),
                remedy="free disk space below the agent's data directory",
            )
            return False
        if self._unwritten.get(waiting) is held:
            del self._unwritten[waiting]
        return True

    def _read(self, path: Path) -> AttemptEntry | None:
        content = self._bytes(path)
        if content is None:
            return None
        try:
            return _ENTRY.validate_json(content)
        except ValidationError as error:
            _log.error(
                "journal.unreadable",
                action="journal.unreadable",
                path=str(path),
                error=f"{error.error_count()} errors",
            )
            return None

    def _bytes(self, path: Path) -> bytes | None:
        if path in self._unwritten:
            return self._unwritten[path]
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, key: AttemptKey) -> Path:
        step = self._step_folder(key.pipeline_id, key.generation, key.step_index)
        return step / f"a{key.attempt}.json"

    def _stop_path(self, pipeline_id: str, generation: int, order: StopStep) -> Path:
        step = self._step_folder(pipeline_id, generation, order.step_index)
        return step / ("stop-all" if order.attempt is None else f"stop-a{order.attempt}")

    def _step_folder(self, pipeline_id: str, generation: int, step_index: int) -> Path:
        return self._folder / checked_id(pipeline_id) / f"g{generation}" / f"step-{step_index}"
