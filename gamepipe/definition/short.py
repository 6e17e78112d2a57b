"""The short forms of Compose: `SOURCE:TARGET`, `HOST:CONTAINER/tcp`, command lines, `KEY=value`.

Templates are cut out before a text is taken apart: what they hold is no syntax.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gamepipe.definition.kind import INVALID, Reader, Text, scalar_of
from gamepipe.definition.pattern import SHORT_DEVICE, SHORT_PORT, SHORT_VOLUME, short_form
from gamepipe.definition.tree import Node, Scalar
from gamepipe.model.container_rule import IP, PORT, SOURCE, TARGET, Rule
from gamepipe.model.interpolation import TEMPLATE
from gamepipe.model.spec import Device, JsonObject, Port, Volume

_HIDDEN = re.compile("\0([0-9]+)\0")
_PORT_TAIL = re.compile(r"(?P<rest>.*?)(?:/(?P<protocol>[a-z]+))?", re.DOTALL)
_IP_HEAD = re.compile(r"(\[[^\]]*\]|[^:]*):(.*)", re.DOTALL)
PROTOCOLS = ("tcp", "udp", "sctp")


def hide_templates(text: str) -> tuple[str, Callable[[str], str]]:
    """The text with templates replaced by marks, and what puts them back into a part of it."""
    found: list[str] = []

    def hide(match: re.Match[str]) -> str:
        found.append(match.group())
        return f"\0{len(found) - 1}\0"

    hidden = TEMPLATE.sub(hide, text.replace("\0", ""))
    return hidden, lambda part: _HIDDEN.sub(lambda mark: found[int(mark[1])], part)


def split_text(text: str, separator: str) -> list[str]:
    """Split at separators outside of templates."""
    hidden, restore = hide_templates(text)
    return [restore(part) for part in hidden.split(separator)]


@dataclass(frozen=True, slots=True)
class _Part:
    """Holds parts of one scalar to rules; `valid` turns False at the first mistake."""

    node: Scalar
    path: str
    reader: Reader

    def held(self, *parts: tuple[str, Rule]) -> bool:
        """Whether every part fits its rule; each that does not is noted."""
        results = [
            Text(template=True, rule=rule).check(self.node, text, self.path, self.reader)
            for text, rule in parts
        ]
        return all(result is not INVALID for result in results)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortVolume:
    """`SOURCE:TARGET[:ro|rw]`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "`SOURCE:TARGET`, with `:ro` to mount it read-only")
        if scalar is None:
            return INVALID
        parts = split_text(scalar.text, ":")
        if len(parts) not in {2, 3}:
            remedy = "write `SOURCE:TARGET`, or `SOURCE:TARGET:ro`"
            return reader.fail(node, path, "is not a volume", remedy)
        if len(parts) == 3 and parts[2] not in {"ro", "rw"}:
            problem = f"volume option `{parts[2][:40]}` is not supported"
            return reader.fail(node, path, problem, "use `ro` or `rw`")
        if not _Part(scalar, path, reader).held((parts[0], SOURCE), (parts[1], TARGET)):
            return INVALID
        return Volume(source=parts[0], target=parts[1], read_only=parts[2:] == ["ro"])

    def schema(self) -> JsonObject:
        return short_form(SHORT_VOLUME)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortPort:
    """`[[IP:]HOST:]CONTAINER[/PROTOCOL]`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "a port such as `8080:80`")
        if scalar is None:
            return INVALID
        hidden, restore = hide_templates(scalar.text)
        tail = _PORT_TAIL.fullmatch(hidden)
        rest, protocol = (tail["rest"], tail["protocol"] or "tcp") if tail else (hidden, "tcp")
        if protocol not in PROTOCOLS:
            problem = f"protocol `{protocol[:20]}` is not known"
            return reader.fail(node, path, problem, f"use one of {', '.join(PROTOCOLS)}")
        ip, host, inside = (restore(part) for part in _split_port(rest))
        return self._port(
            scalar, path, reader, Port(container=inside, host=host, host_ip=ip, protocol=protocol)
        )

    def _port(self, scalar: Scalar, path: str, reader: Reader, port: Port) -> Any:
        if any("-" in part and not TEMPLATE.search(part) for part in (port.host, port.container)):
            problem = "port ranges are not supported"
            return reader.fail(scalar, path, problem, "list each port on its own line")
        checks = [(port.container, PORT)]
        if ":" in scalar.text and (port.host or not port.host_ip):
            checks.append((port.host, PORT))
        if port.host_ip:
            checks.append((port.host_ip, IP))
        return port if _Part(scalar, path, reader).held(*checks) else INVALID

    def schema(self) -> JsonObject:
        numbers = {"type": ["string", "integer"], "minimum": 1, "maximum": 65535}
        return {**short_form(SHORT_PORT), **numbers}


def _split_port(text: str) -> tuple[str, str, str]:
    """(ip, host port, container port)."""
    rest, _, inside = text.rpartition(":")
    head = _IP_HEAD.fullmatch(rest) if not rest.endswith("]") else None
    if head is not None:
        return head[1].strip("[]"), head[2], inside
    return "", rest, inside


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortDevice:
    """`SOURCE[:TARGET[:rwm]]`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "a device such as `/dev/dri:/dev/dri`")
        if scalar is None:
            return INVALID
        parts = split_text(scalar.text, ":")
        if len(parts) == 2 and re.fullmatch("[rwm]{1,3}", parts[1]):
            parts.insert(1, parts[0])
        if len(parts) > 3 or (len(parts) == 3 and not re.fullmatch("[rwm]{1,3}", parts[2])):
            remedy = "write `SOURCE:TARGET`, or `SOURCE:TARGET:rwm`"
            return reader.fail(node, path, "is not a device", remedy)
        target = parts[1] if len(parts) > 1 else parts[0]
        if not _Part(scalar, path, reader).held((parts[0], TARGET), (target, TARGET)):
            return INVALID
        permissions = parts[2] if len(parts) == 3 else "rwm"
        return Device(source=parts[0], target=target, permissions=permissions)

    def schema(self) -> JsonObject:
        return short_form(SHORT_DEVICE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A command line as a shell would split it."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        text = Text(template=True, empty=True).read(node, path, reader)
        if text is INVALID:
            return INVALID
        hidden, restore = hide_templates(text)
        try:
            return tuple(restore(word) for word in shlex.split(hidden))
        except ValueError as error:
            problem = f"cannot be split into words: {str(error).lower()}"
            return reader.fail(node, path, problem, "close the quote, or write a list of words")

    def schema(self) -> JsonObject:
        return {"type": "string"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """`KEY=value`; the value never shows in a mistake."""

    key: Text

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, "`KEY=value`")
        if scalar is None:
            return INVALID
        name, equals, value = scalar.text.partition("=")
        if not equals:
            problem = "has no value; variables of the machine are not passed on"
            return reader.fail(node, path, problem, "write `KEY=value`")
        if self.key.check(scalar, name, path, reader) is INVALID:
            return INVALID
        text = Text(template=True, empty=True).check(scalar, value, path, reader)
        return INVALID if text is INVALID else (name, text)

    def schema(self) -> JsonObject:
        return {"type": "string", "pattern": f"^(?:{self.key.pattern})="}


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignments:
    """A list of `KEY=value` as a dict."""

    items: Any

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        pairs = self.items.read(node, path, reader)
        if pairs is INVALID:
            return INVALID
        values: dict[str, str] = {}
        for number, (name, value) in enumerate(pairs):
            if name in values:
                place = f"{path}[{number}]"
                reader.fail_at(place, f"`{name}` stands in the list twice", "remove one of them")
            values[name] = value
        return values

    def schema(self) -> JsonObject:
        schema: JsonObject = self.items.schema()
        return schema
