"""Exit statuses and errors of the command line."""

from enum import IntEnum


class ExitStatus(IntEnum):
    DONE = 0
    """What was asked for is done; a watched pipeline completed."""
    FAILED = 1
    """A watched pipeline did not complete, or the service refused or did not answer."""
    USAGE = 2
    """The command line or the pipeline file is wrong."""


class CommandFailed(Exception):
    """Ends the command with a message on standard error."""

    def __init__(self, message: str, status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
