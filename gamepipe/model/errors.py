"""The one error tree; each edge (gRPC, REST, workflow) translates it through one table.

::

    GamePipeError
    ├── InvalidPipeline            a list of `Mistake`s, each with its place and remedy
    ├── InvalidRequest
    ├── NotFound                   pipeline, step, node, template, instance
    ├── AlreadyExists
    ├── IllegalTransition
    │   ├── NodeNotSchedulable
    │   ├── SessionUnknown
    │   └── ProtocolUnsupported
    ├── RevisionConflict
    │   └── LeaseLost
    ├── QueueFull
    │   ├── RateLimited
    │   └── LimitExceeded
    ├── Unauthenticated
    ├── Forbidden
    └── Unavailable
        ├── StoreUnavailable
        └── TemporalUnavailable
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class GamePipeError(Exception):
    """Root of the tree: a message for people, a stable `reason`, metadata for programs."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One mistake in a pipeline file. `line` and `column` count from 1; 0 means unknown."""

    path: str
    problem: str
    remedy: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = f"{self.file or 'pipeline'}:{self.line}:{self.column}: " if self.line else ""
        return f"{where}{self.path or 'file'}: {self.problem}; {self.remedy}"


class InvalidPipeline(GamePipeError):
    """A pipeline definition with every mistake found in it."""

    reason = "INVALID_PIPELINE"

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class InvalidRequest(GamePipeError):
    """A request that is malformed outside a pipeline definition; says what would be right."""

    reason = "INVALID_REQUEST"


class NotFound(GamePipeError):
    reason = "NOT_FOUND"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no {kind} {key!r}", kind=kind, id=key)


class AlreadyExists(GamePipeError):
    reason = "ALREADY_EXISTS"


class IllegalTransition(GamePipeError):
    reason = "ILLEGAL_TRANSITION"


class NodeNotSchedulable(IllegalTransition):
    reason = "NODE_NOT_SCHEDULABLE"


class SessionUnknown(IllegalTransition):
    """The store knows nothing of a session: it is to be registered anew."""

    reason = "SESSION_UNKNOWN"


class ProtocolUnsupported(IllegalTransition):
    """An agent speaks a version that this gateway does not."""

    reason = "PROTOCOL_UNSUPPORTED"


class RevisionConflict(GamePipeError):
    reason = "REVISION_CONFLICT"


class LeaseLost(RevisionConflict):
    reason = "LEASE_LOST"


class QueueFull(GamePipeError):
    reason = "QUEUE_FULL"


class RateLimited(QueueFull):
    reason = "RATE_LIMITED"


class LimitExceeded(QueueFull):
    """A request, or a part of it, is too large; `limit` names what, `allowed` how much is."""

    reason = "LIMIT_EXCEEDED"


class Unauthenticated(GamePipeError):
    reason = "UNAUTHENTICATED"


class Forbidden(GamePipeError):
    reason = "FORBIDDEN"


class Unavailable(GamePipeError):
    reason = "UNAVAILABLE"


class StoreUnavailable(Unavailable):
    reason = "STORE_UNAVAILABLE"


class TemporalUnavailable(Unavailable):
    reason = "TEMPORAL_UNAVAILABLE"
