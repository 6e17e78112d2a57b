"""Exit statuses and errors of the command line."""

from collections.abc import Sequence
from enum import IntEnum


class ExitStatus(IntEnum):
    DONE = 0
    """What was asked for is done; a watched pipeline completed."""
    FAILED = 1
    """A watched pipeline did not complete, or the service refused or did not answer."""
    USAGE = 2
    """The command line or the pipeline file is wrong."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it."""


class CommandFailed(Exception):
    """Ends the command with a message on standard error, behind lines of details."""

    def __init__(
        self,
        message: str,
        status: ExitStatus = ExitStatus.FAILED,
        *,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = tuple(details)

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (*self.details, f"gamepipe: {self.message}"))


def wrong_file(file: str, mistakes: Sequence[object]) -> CommandFailed:
    """A pipeline file with mistakes, each on a line of its own."""
    count = f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}"
    return CommandFailed(
        f"{count} in {file}", ExitStatus.USAGE, details=[str(mistake) for mistake in mistakes]
    )
