"""`envs`, `args` and `secrets`: a list of names, or names with defaults."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gamepipe.definition.kind import INVALID, Reader, Text, is_null, shape_of
from gamepipe.definition.shape import below, unique_pairs
from gamepipe.definition.tree import Mapping, Node, Scalar, Sequence
from gamepipe.model.spec import JsonObject, Parameter

NAME = Text(
    what="a name (letters, digits, `_` and `-`, the first a letter or `_`)",
    pattern="[A-Za-z_][A-Za-z0-9_-]*",
    max_length=128,
)
DEFAULT = Text(what="a text, a number, true or false", scalars=True, empty=True)
_MOST = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name as it stands in the file; `default` None: it has none."""

    path: str
    name: Scalar
    default: Node | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """`[A, B]`, `[A, {B: default}]`, or `{A: default, B: }`; reads as a tuple of `Parameter`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if not isinstance(node, Sequence | Mapping):
            problem = f"must be a list of names, or names with defaults, not {shape_of(node)}"
            return reader.fail(node, path, problem, "write `- NAME` or `NAME: default` lines")
        found: dict[str, Parameter] = {}
        mistakes = len(reader.mistakes)
        for entry in _entries(node, path, reader):
            _read_entry(entry, found, reader)
        if len(found) > _MOST:
            reader.fail(node, path, f"holds {len(found)} names", f"keep it to {_MOST}")
        return INVALID if len(reader.mistakes) > mistakes else tuple(found.values())

    def schema(self) -> JsonObject:
        default = {"anyOf": [DEFAULT.schema(), {"type": "null"}]}
        table = {
            "type": "object",
            "propertyNames": NAME.schema(),
            "additionalProperties": default,
        }
        return {"anyOf": [{"type": "array", "items": {"anyOf": [NAME.schema(), table]}}, table]}


def _entries(node: Sequence | Mapping, path: str, reader: Reader) -> Iterator[_Entry]:
    if isinstance(node, Mapping):
        for key, (key_node, value) in unique_pairs(node, path, reader).items():
            yield _Entry(below(path, key), key_node, None if is_null(value) else value)
        return
    for number, item in enumerate(node.items):
        place = f"{path}[{number}]"
        if isinstance(item, Mapping):
            yield from _entries(item, place, reader)
        elif isinstance(item, Scalar) and item.kind == "text":
            yield _Entry(place, item)
        else:
            problem = f"must be a name, or `NAME: default`, not {shape_of(item)}"
            reader.fail(item, place, problem, "write `- NAME` or `- NAME: default`")


def _read_entry(entry: _Entry, found: dict[str, Parameter], reader: Reader) -> None:
    text = entry.name.text
    if not entry.default and "=" in text:
        remedy = "write `NAME: default`"
        reader.fail(entry.name, entry.path, "a default does not follow `=`", remedy)
        return
    name = NAME.check(entry.name, text, entry.path, reader)
    default = DEFAULT.read(entry.default, entry.path, reader) if entry.default else None
    if INVALID in (name, default):
        return
    if name in found:
        reader.fail(entry.name, entry.path, f"`{name}` is declared twice", "remove one of them")
        return
    found[name] = Parameter(name=name, default=default, has_default=default is not None)
