"""Kinds that hold other kinds: records, lists, maps, and values with a short and a long form."""

import re
from collections.abc import Callable
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Any

from gamepipe.definition.kind import INVALID, Kind, Reader, Text, is_null, shape_of, suggestion
from gamepipe.definition.tree import Mapping, Node, Scalar, Sequence
from gamepipe.model.spec import JsonObject

_WORD = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a record. `help` is the schema's description of it."""

    kind: Kind
    help: str
    required: bool = False
    nullable: bool = False
    """`key:` without a value counts as absent."""


def below(path: str, key: str) -> str:
    """The path of a key within a value."""
    if not _WORD.fullmatch(key):
        return f"{path}[{key[:60]!r}]"
    return f"{path}.{key}" if path else key


def unique_pairs(node: Mapping, path: str, reader: Reader) -> dict[str, tuple[Scalar, Node]]:
    """The mapping's pairs by key, those of merge keys last; duplicates are mistakes."""
    found: dict[str, tuple[Scalar, Node]] = {}
    for key, value in node.pairs:
        if key.text in found:
            remedy = f"keep one of them (the first is on line {found[key.text][0].line})"
            reader.fail(key, below(path, key.text), "the key stands here a second time", remedy)
            continue
        found[key.text] = (key, value)
    for key, value in node.merged:
        found.setdefault(key.text, (key, value))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A mapping with known keys. `refused`: keys known elsewhere, with what to do instead."""

    fields: Table[str, Field]
    refused: Table[str, str] = field(default_factory=dict)
    check: Callable[[dict[str, Any], Node, str, Reader], None] | None = None
    build: Callable[[dict[str, Any]], Any] | None = None
    """Makes the value of a record without mistakes; without it the value is a dict."""
    rules: tuple[JsonObject, ...] = ()
    """What `check` sees to, as far as a JSON Schema can say it."""
    extensions: bool = False
    """Keys that begin with `x-` are passed over, as in Compose: a place for anchors."""
    what: str = "a mapping"

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if not isinstance(node, Mapping):
            known = ", ".join(list(self.fields)[:4])
            remedy = f"write keys such as {known}"
            return reader.fail(node, path, f"must be {self.what}, not {shape_of(node)}", remedy)
        mistakes = len(reader.mistakes)
        values = self._values(node, path, reader)
        if self.check is not None:
            self.check(values, node, path, reader)
        if self.build is None:
            return values
        return INVALID if len(reader.mistakes) > mistakes else self.build(values)

    def _values(self, node: Mapping, path: str, reader: Reader) -> dict[str, Any]:
        values: dict[str, Any] = {}
        present = unique_pairs(node, path, reader)
        for key, (key_node, value_node) in present.items():
            place = below(path, key)
            if self.extensions and key.startswith("x-"):
                continue
            if key not in self.fields:
                self._fail_unknown(key_node, path, reader, set(present))
                continue
            reader.places[place] = value_node
            if self.fields[key].nullable and is_null(value_node):
                continue
            value = self.fields[key].kind.read(value_node, place, reader)
            if value is not INVALID:
                values[key] = value
        for key, item in self.fields.items():
            if item.required and below(path, key) not in reader.places:
                remedy = f"add `{key}`: {item.help[:1].lower()}{item.help[1:].rstrip('.')}"
                reader.fail(node, below(path, key), "is missing", remedy)
        return values

    def _fail_unknown(self, key: Scalar, path: str, reader: Reader, present: set[str]) -> None:
        name = key.text[:60]
        if name in self.refused:
            instead = self.refused[name]
            remedy = f"remove it{': ' + instead if instead else ''}"
            reader.fail(key, below(path, name), f"`{name}` is not supported", remedy)
            return
        absent = [known for known in self.fields if known not in present]
        meant = suggestion(name, absent) or suggestion(name, self.fields)
        remedy = f"did you mean `{meant}`?" if meant else f"use one of {', '.join(self.fields)}"
        reader.fail(key, below(path, name), f"unknown key `{name}`", remedy)
        if meant in absent:
            reader.places[below(path, meant)] = key  # so that it is not called missing too

    def schema(self) -> JsonObject:
        properties = {
            key: _described(item.kind.schema(), item) for key, item in self.fields.items()
        }
        schema: JsonObject = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        if self.extensions:
            schema["patternProperties"] = {"^x-": {}}
        required = [key for key, item in self.fields.items() if item.required]
        if required:
            schema["required"] = required
        if self.rules:
            schema["allOf"] = list(self.rules)
        return schema


def _described(schema: JsonObject, item: Field) -> JsonObject:
    if item.nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {"description": item.help, **schema}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf:
    """A list. `single`: one value stands for a list of one."""

    item: Kind
    least: int = 0
    most: int = 10_000
    single: bool = False
    unique: bool = False
    keep_invalid: bool = False
    """Items that cannot be read stay as `INVALID`, so that the others can be looked at."""
    what: str = "a list"

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if self.single and isinstance(node, Scalar) and not is_null(node):
            value = self.item.read(node, path, reader)
            return INVALID if value is INVALID else (value,)
        if not isinstance(node, Sequence):
            remedy = "begin each item with `- `"
            return reader.fail(node, path, f"must be {self.what}, not {shape_of(node)}", remedy)
        count = len(node.items)
        if not self.least <= count <= self.most:
            remedy = f"keep it from {self.least} to {self.most}"
            reader.fail(node, path, f"holds {count} items", remedy)
        return self._items(node, path, reader)

    def _items(self, node: Sequence, path: str, reader: Reader) -> Any:
        values: list[Any] = []
        valid = True
        for number, child in enumerate(node.items[: self.most]):
            place = f"{path}[{number}]"
            reader.places[place] = child
            value = self.item.read(child, place, reader)
            if self.unique and value is not INVALID and value in values:
                value = reader.fail(child, place, "stands in the list twice", "remove one of them")
            valid = valid and value is not INVALID
            values.append(value)
        return tuple(values) if valid or self.keep_invalid else INVALID

    def schema(self) -> JsonObject:
        items = self.item.schema()
        schema: JsonObject = {"type": "array", "items": items}
        if self.least:
            schema["minItems"] = self.least
        if self.most < 10_000:
            schema["maxItems"] = self.most
        if self.unique:
            schema["uniqueItems"] = True
        return {"anyOf": [items, schema]} if self.single else schema


@dataclass(frozen=True, kw_only=True, slots=True)
class TextMap:
    """Texts by name; numbers and true/false stay as they are written."""

    key: Text
    value: Text

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if not isinstance(node, Mapping):
            problem = f"must be a mapping of names to texts, not {shape_of(node)}"
            return reader.fail(node, path, problem, "write `NAME: value` lines")
        values: dict[str, str] = {}
        valid = True
        for key, (key_node, value_node) in unique_pairs(node, path, reader).items():
            place = below(path, key)
            name = self.key.check(key_node, key, place, reader)
            text = self.value.read(value_node, place, reader)
            if INVALID in (name, text):
                valid = False
            else:
                values[name] = text
        return values if valid else INVALID

    def schema(self) -> JsonObject:
        return {
            "type": "object",
            "propertyNames": self.key.schema(),
            "additionalProperties": self.value.schema(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Either:
    """The kind depends on the form: a scalar, a mapping or a list."""

    what: str
    scalar: Kind | None = None
    mapping: Kind | None = None
    sequence: Kind | None = None

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        kind = self.scalar
        if isinstance(node, Mapping):
            kind = self.mapping
        elif isinstance(node, Sequence):
            kind = self.sequence
        if kind is None or (is_null(node) and kind is self.scalar):
            problem = f"must be {self.what}, not {shape_of(node)}"
            return reader.fail(node, path, problem, f"write {self.what}")
        return kind.read(node, path, reader)

    def schema(self) -> JsonObject:
        kinds = (self.scalar, self.mapping, self.sequence)
        return {"anyOf": [kind.schema() for kind in kinds if kind is not None]}
