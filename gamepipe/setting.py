"""Reads settings from the environment, so that a wrong one is a sentence."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from gamepipe.model.errors import GamePipeError

T = TypeVar("T", bound=BaseSettings)
_FIELD = re.compile(r'field "(\w+)"')


class BadSettings(GamePipeError):
    """Names each wrong setting as it was given, and what would be right."""

    reason = "SETTINGS_INVALID"


def read_settings(
    kind: type[T], given: Mapping[str, Any] | None = None, *, flags: Mapping[str, str] | None = None
) -> T:
    """The settings; those in `given` go before the environment, and `flags` are their names.

    Raises:
        BadSettings: with every mistake.
    """
    try:
        return kind(**(given or {}))
    except SettingsError as error:
        raise BadSettings(_unreadable(kind, error)) from None
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"]
        mistakes = []
        for one in error.errors(include_url=False):
            field, *inner = map(str, one["loc"])
            name = (flags or {}).get(field) if field in (given or {}) else None
            place = ".".join([name or f"{prefix}{field}".upper(), *inner])
            problem = one["msg"].removeprefix("Value error, ")
            mistakes.append(f"{place}: {problem.replace('datetime.timedelta(0)', '0')}")
        raise BadSettings("; ".join(mistakes)) from None


def _unreadable(kind: type[BaseSettings], error: SettingsError) -> str:
    """A mapping is JSON in the environment; the library's words do not name the variable."""
    field = _FIELD.search(str(error))
    if field is None:
        return str(error)
    name = f"{kind.model_config['env_prefix']}{field[1]}".upper()
    return f'{name}: must be JSON, such as {{"name": 1}}'
