"""Reads docker-compose.temporal.yml as Compose does: YAML merges, then variables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.temporal.yml"
GPU_FILE = ROOT / "deploy" / "compose.gpu.yml"
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\})"
)


class VariableMissing(Exception):
    """`${NAME:?text}` without a value."""


def load_raw(path: Path = COMPOSE_FILE) -> dict[str, Any]:
    """The file with its merges, its variables as they are written."""
    return dict(YAML(typ="safe").load(path))


def required_variables() -> dict[str, str]:
    """What has to be set, and what the file says to whom it is not."""
    found = _VARIABLE.finditer(COMPOSE_FILE.read_text())
    return {one["name"]: one["text"] for one in found if one["kind"] == "?"}


def render(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with variables in place. Raises `VariableMissing` with the file's own words."""
    return dict(_rendered(load_raw(), environment))


def _rendered(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _rendered(one, environment) for name, one in value.items()}
    if isinstance(value, list):
        return [_rendered(one, environment) for one in value]
    if not isinstance(value, str):
        return value
    assert "$" not in _VARIABLE.sub("", value), f"neither a variable nor `$$`: {value}"
    return _VARIABLE.sub(lambda match: _value(match, environment), value)


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    if given := environment.get(match["name"]):
        return given
    if match["kind"] == "?":
        raise VariableMissing(f"{match['name']}: {match['text']}")
    return match["text"] or ""
