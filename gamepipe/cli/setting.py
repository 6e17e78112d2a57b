"""Settings of the service as commands read them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic_settings import BaseSettings

from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.setting import BadSettings, read_settings

T = TypeVar("T", bound=BaseSettings)


def checked(
    kind: type[T], given: Mapping[str, Any] | None = None, *, flags: Mapping[str, str] | None = None
) -> T:
    """`read_settings`, whose error is one of usage."""
    try:
        return read_settings(kind, given, flags=flags)
    except BadSettings as error:
        raise CommandFailed(error.message, ExitStatus.USAGE) from error
