"""The steps that the gateway handed over and that still owe it an end: on disk, until answered."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from gamepipe.agent.folder import checked_id, write_durably
from gamepipe.agent.plan import key_of
from gamepipe.model.record import AttemptKey
from gamepipe.wire import StepAssignment

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


_LEASE = TypeAdapter(Lease)


class LeaseFolder:
    """One small file per attempt, written before the work is accepted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, lease: Lease) -> None:
        """Raises OSError."""
        write_durably(self._path(lease.key), _LEASE.dump_json(lease))

    def drop(self, key: AttemptKey) -> None:
        self._path(key).unlink(missing_ok=True)

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
