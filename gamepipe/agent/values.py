"""The port through which a step's envs and secrets are fetched, when it names any."""

from dataclasses import dataclass, field
from typing import Protocol

from gamepipe.model.record import AttemptKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """Values by name; never logged, never written to disk."""

    envs: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


class ValuesRefused(Exception):
    """The gateway will not hand the values to this node; asking again changes nothing."""


class ValuesUnavailable(Exception):
    """The gateway does not answer now; ask again later."""


class StepValues(Protocol):
    async def fetch(self, key: AttemptKey) -> Values:
        """The values that the step names. Raises `ValuesRefused` or `ValuesUnavailable`."""
