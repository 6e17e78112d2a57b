"""The steps that the gateway handed over and that still owe it an end: on disk, until answered."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from gamepipe.agent.folder import checked_id, write_durably
from gamepipe.agent.plan import key_of
from gamepipe.model.record import AttemptKey
from gamepipe.wire import StepAssignment, StopStep

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One attempt under the token of its newest dispatch. Holds no value of an env or a secret."""

    task_token: str
    """In hexadecimal."""
    run_id: str
    assignment: StepAssignment

    @property
    def key(self) -> AttemptKey:
        return key_of(self.assignment)

    @property
    def token(self) -> bytes:
        return bytes.fromhex(self.task_token)

    @property
    def stop(self) -> StopStep:
        """The order to end this attempt and no other."""
        return StopStep(
            pipeline_id=self.key.pipeline_id,
            generation=self.key.generation,
            step_index=self.key.step_index,
            attempt=self.key.attempt,
            grace_seconds=self.assignment.grace_seconds,
        )


_LEASE = TypeAdapter(Lease)


class LeaseFolder:
    """One small file per attempt, written before the work is accepted. One thread writes them, in
    the order in which they came: of two dispatches of an attempt, the newer one stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")

    async def keep(self, lease: Lease) -> None:
        """Raises OSError."""
        path = self._path(lease.key)
        await self._in_turn(lambda: write_durably(path, _LEASE.dump_json(lease)))

    async def drop(self, key: AttemptKey) -> None:
        """Absent is fine."""
        path = self._path(key)
        await self._in_turn(lambda: path.unlink(missing_ok=True))

    async def _in_turn(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Once what was begun is on the disk, also what nobody waits for any more."""
        await asyncio.to_thread(self._thread.shutdown)

    def all(self) -> Iterator[Lease]:
        """What an earlier agent left; a file that cannot be read is passed over: its dispatch will
        be given up by the server, and sent again."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                yield _LEASE.validate_json(path.read_bytes())
            except (ValidationError, OSError) as error:
                _log.error(
                    "lease.unreadable",
                    action="lease.unreadable",
                    path=str(path),
                    error=type(error).__name__,
                )

    def _path(self, key: AttemptKey) -> Path:
        checked_id(key.pipeline_id)
        return self._folder / f"{key.path.replace('/', '+')}.json"
