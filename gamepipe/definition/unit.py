"""Durations, sizes and numbers of devices: texts with units, plain numbers, `all`."""

import re
from dataclasses import dataclass
from typing import Any

from gamepipe.definition.kind import INVALID, Number, Reader, scalar_of
from gamepipe.definition.tree import Node, Scalar
from gamepipe.model.gpu import ALL
from gamepipe.model.interpolation import has_template
from gamepipe.model.spec import JsonObject

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_PLAIN = r"[0-9]+(?:\.[0-9]+)?"
_MAX_SECONDS = 366 * 86400.0

_BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_COMPOSE = {"b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
_MAX_BYTES = 2**60


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration:
    """Seconds, from `90s`, `5m`, `1h30m`, `500ms` or a plain number of seconds."""

    zero: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "a duration such as `90s`, `5m` or `1h30m`")
        if scalar is None:
            return INVALID
        seconds = seconds_of(scalar.text[:200])
        if seconds is None:
            remedy = "write a duration such as `90s`, `5m` or `1h30m`, or plain seconds"
            if has_template(scalar.text):
                remedy += "; templates are not filled in here"
            return reader.fail(node, path, f"`{scalar.text[:40]}` is not a duration", remedy)
        if seconds > _MAX_SECONDS or (seconds == 0 and not self.zero):
            least = "0s" if self.zero else "1ms"
            remedy = f"write a duration from {least} to 366d"
            return reader.fail(node, path, f"`{scalar.text[:40]}` is out of range", remedy)
        return seconds

    def schema(self) -> JsonObject:
        some = "" if self.zero else "(?=[^1-9]*[1-9])"
        text = {"type": "string", "pattern": f"^{some}(?:{_DURATION}|{_PLAIN})$"}
        least = "minimum" if self.zero else "exclusiveMinimum"
        return {"anyOf": [text, {"type": "number", least: 0, "maximum": _MAX_SECONDS}]}


def seconds_of(text: str) -> float | None:
    """Of a duration; None for what is none."""
    if re.fullmatch(_PLAIN, text):
        return float(text)
    if not re.fullmatch(_DURATION, text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Bytes, from `4GiB` or a plain number; with `compose` also from `512m` as Compose has it."""

    compose: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "a size such as `4GiB`")
        if scalar is None:
            return INVALID
        match = _SIZE.fullmatch(scalar.text.strip())
        if match is None:
            problem = f"`{scalar.text[:40]}` is not a size"
            return reader.fail(node, path, problem, "write a size such as `4GiB`, or plain bytes")
        number, unit = float(match[1]), match[2]
        factor = self._factor(unit)
        if factor is None:
            problem = f"`{unit[:20]}` is not a unit of size"
            return reader.fail(node, path, problem, _unit_remedy(match[1], unit))
        if number * factor > _MAX_BYTES:
            return reader.fail(node, path, "the size is too large", "write at most 1024 PiB in TiB")
        return round(number * factor)

    def _factor(self, unit: str) -> int | None:
        if not unit or unit in _BINARY:
            return _BINARY.get(unit, 1)
        return _COMPOSE.get(unit.lower()) if self.compose else None

    def schema(self) -> JsonObject:
        units = "|".join(_BINARY)
        if self.compose:
            units += "|[bB]|[kKmMgG][bB]?"
        number = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
        text = {"type": "string", "pattern": rf"^\s*{number}\s*(?:{units})?\s*$"}
        return {"anyOf": [text, {"type": "number", "minimum": 0, "maximum": _MAX_BYTES}]}


def _unit_remedy(number: str, unit: str) -> str:
    meant = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}.get(unit[:1].lower())
    if meant is not None:
        return f"write `{number}{meant}`"
    return f"use one of {', '.join(_BINARY)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCount:
    """A number of devices, or `all`."""

    low: int

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if isinstance(node, Scalar) and node.text == "all":
            return ALL
        return self._number.read(node, path, reader)

    @property
    def _number(self) -> Number:
        return Number(low=self.low, high=64, whole=True)

    def schema(self) -> JsonObject:
        return {"anyOf": [{"const": "all"}, self._number.schema()]}
