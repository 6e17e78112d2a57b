"""The port through which a step's envs and secrets are fetched, when it names any."""

import asyncio
from collections.abc import Callable
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


class ValuesUnauthenticated(ValuesUnavailable):
    """The gateway does not know this agent's token now: it is being changed, or wrong for good."""


class StepValues(Protocol):
    async def fetch(self, key: AttemptKey) -> Values:
        """The values that the step names. Raises `ValuesRefused` or `ValuesUnavailable`."""


def _say_nothing(error: ValuesUnavailable) -> None:
    """Nobody wants to know."""


async def fetch_patiently(
    source: StepValues,
    key: AttemptKey,
    *,
    every: float,
    token_seconds: float | None = None,
    on_wait: Callable[[ValuesUnavailable], None] = _say_nothing,
) -> Values:
    """Ask until they come. Raises `ValuesRefused`.

    Args:
        source: where they are asked for.
        key: whose they are.
        every: seconds between two tries.
        token_seconds: how long a token that the gateway does not know is borne; None: for ever.
        on_wait: told why they did not come.
    """
    loop = asyncio.get_running_loop()
    unknown_since: float | None = None
    while True:
        try:
            return await source.fetch(key)
        except ValuesUnauthenticated as error:
            unknown_since = unknown_since or loop.time()
            if token_seconds is not None and loop.time() - unknown_since >= token_seconds:
                raise ValuesRefused(str(error)) from None
            on_wait(error)
        except ValuesUnavailable as error:
            unknown_since = None
            on_wait(error)
        await asyncio.sleep(every)
