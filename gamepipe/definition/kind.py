"""Kinds of single values: each reads a node and describes itself as JSON Schema.

One description serves the parser, the error messages and the schema, so they cannot drift.
"""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gamepipe.definition.pattern import matching, number_text
from gamepipe.definition.tree import Mapping, Node, Scalar, Sequence
from gamepipe.model.container_rule import Rule
from gamepipe.model.errors import Mistake
from gamepipe.model.interpolation import Hole, has_template, holes
from gamepipe.model.reference import ReferenceSyntax
from gamepipe.model.spec import JsonObject

MAX_MISTAKES = 200
_MAX_LENGTH = 100_000


class TooManyMistakes(Exception):
    """Reading stops here: as many mistakes as anyone wants to see are noted."""


class _Invalid:
    """Marks a value that could not be read; the mistake is noted."""


INVALID = _Invalid()


@dataclass(frozen=True, slots=True)
class PlacedHole:
    """A reference in a text of the file."""

    path: str
    node: Scalar
    hole: Hole


@dataclass(slots=True)
class Reader:
    """Collects what reading a file finds: mistakes, places and references."""

    file: str = ""
    mistakes: list[Mistake] = field(default_factory=list)
    places: dict[str, Node] = field(default_factory=dict)
    holes: list[PlacedHole] = field(default_factory=list)

    def fail(
        self, node: Node | None, path: str, problem: str, remedy: str, *, offset: int | None = None
    ) -> _Invalid:
        """Note a mistake; `offset` is a position within the node's text.

        Raises `TooManyMistakes` when it is the last one that is kept.
        """
        line, column = _place(node, offset)
        self.mistakes.append(
            Mistake(
                path=path, problem=problem, remedy=remedy, file=self.file, line=line, column=column
            )
        )
        if len(self.mistakes) >= MAX_MISTAKES:
            raise TooManyMistakes
        return INVALID

    def fail_at(self, path: str, problem: str, remedy: str, *, offset: int | None = None) -> None:
        """Note a mistake about a value that was read, by its path."""
        self.fail(self.places.get(path), path, problem, remedy, offset=offset)


def _place(node: Node | None, offset: int | None) -> tuple[int, int]:
    if node is None:
        return 0, 0
    if offset is None or not isinstance(node, Scalar):
        return node.line, node.column
    return node.place_of(offset)


class Kind(Protocol):
    """A kind of value. `read` returns `INVALID` after noting a mistake."""

    def read(self, node: Node, path: str, reader: Reader) -> Any: ...

    def schema(self) -> JsonObject: ...


def suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that was meant, or ""."""
    close = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return close[0] if close else ""


def did_you_mean(word: str, known: Iterable[str], *, else_: str) -> str:
    """A remedy: the word that was meant, or `else_`."""
    meant = suggestion(word, known)
    return f"did you mean `{meant}`?" if meant else else_


def shape_of(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    kind = node.kind if isinstance(node, Scalar) else "text"
    return {"null": "nothing", "bool": "true or false", "number": "a number"}.get(kind, "a text")


def is_null(node: Node) -> bool:
    """Whether nothing is written: `key:`, `~` or `null`."""
    return isinstance(node, Scalar) and node.kind == "null"


def scalar_of(node: Node, path: str, reader: Reader, what: str) -> Scalar | None:
    """The node as a scalar with a value; None after noting the mistake."""
    if isinstance(node, Scalar) and node.kind != "null":
        return node
    remedy = f"write {what}" if not isinstance(node, Scalar) else f"write {what}, or remove the key"
    reader.fail(node, path, f"must be {what}, not {shape_of(node)}", remedy)
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text. `scalars`: numbers and true/false count too, as they are written."""

    what: str = "a text"
    template: bool = False
    scalars: bool = False
    empty: bool = False
    pattern: str = ""
    rule: Rule | None = None
    max_length: int = _MAX_LENGTH

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = scalar_of(node, path, reader, self.what)
        if scalar is None:
            return INVALID
        if scalar.kind != "text" and not self.scalars:
            problem = f"must be {self.what}, not {shape_of(node)}"
            return reader.fail(node, path, problem, "put it into quotes")
        return self.check(scalar, scalar.text, path, reader)

    def check(self, node: Scalar, text: str, path: str, reader: Reader) -> Any:
        """Hold one text (the node's own or a part of it) to this kind."""
        if has_template(text):
            return self._check_template(node, text, path, reader)
        mistake = self._mistake(text)
        return text if mistake is None else reader.fail(node, path, *mistake)

    def _mistake(self, text: str) -> tuple[str, str] | None:
        """(problem, remedy) of a text without templates."""
        wanted = f"write {self.rule.wanted if self.rule else self.what}"
        if not text.strip() and not self.empty:
            return "is empty", wanted
        if len(text) > self.max_length:
            problem = f"is {len(text)} characters long"
            return problem, f"keep it within {self.max_length} characters"
        if "\0" in text:
            return "holds a zero character", "remove it"
        if self.pattern and not re.fullmatch(self.pattern, text):
            return f"is not {self.what}", wanted
        if self.rule and not self.rule.accepts(text):
            return f"is not {self.rule.wanted}", wanted
        return None

    def _check_template(self, node: Scalar, text: str, path: str, reader: Reader) -> Any:
        if not self.template:
            remedy = (
                "write the value itself; templates are for `container`, `command`, `environment`"
            )
            return reader.fail(node, path, "templates are not filled in here", remedy)
        try:
            found = holes(text)
        except ReferenceSyntax as error:
            return reader.fail(node, path, error.problem, error.remedy, offset=error.position)
        shift = max(node.text.find(text), 0)
        placed = (Hole(hole.reference, hole.position + shift) for hole in found)
        reader.holes.extend(PlacedHole(path, node, hole) for hole in placed)
        return text

    def schema(self) -> JsonObject:
        kinds: Any = ["string", "number", "boolean"] if self.scalars else "string"
        schema: JsonObject = {"type": kinds}
        pattern = self.pattern or (self.rule.pattern if self.rule else "")
        if pattern or not (self.empty and self.template):
            kept = pattern or r"[\s\S]*"
            schema["pattern"] = matching(kept, template=self.template, blank=self.empty)
        if self.max_length < _MAX_LENGTH and not self.template:
            schema["maxLength"] = self.max_length
        if self.scalars and self.rule and self.rule.numbers:
            schema["type"] = ["string", "integer"]
            schema["minimum"], schema["maximum"] = self.rule.numbers
        elif self.scalars and pattern and not re.fullmatch(pattern, "-1"):
            schema["minimum"] = 0
        return schema


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """true or false."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if isinstance(node, Scalar) and node.kind == "bool" and _BOOLEAN.fullmatch(node.text):
            return node.text.lower() == "true"
        problem = f"must be true or false, not {shape_of(node)}"
        return reader.fail(node, path, problem, "write `true` or `false` without quotes")

    def schema(self) -> JsonObject:
        return {"type": "boolean"}


_BOOLEAN = re.compile("true|false", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number within bounds; `whole`: without a fraction. `quoted` ones count too."""

    low: float
    high: float
    whole: bool = False
    quoted: bool = False
    above_low: bool = False
    """`low` itself is not allowed."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        scalar = node if isinstance(node, Scalar) else None
        if scalar is None or (scalar.kind != "number" and not self.quoted):
            problem = f"must be {self._what}, not {shape_of(node)}"
            return reader.fail(node, path, problem, f"write {self._range}")
        value = self._parse(scalar.text)
        if value is None:
            return reader.fail(node, path, f"is not {self._what}", f"write {self._range}")
        if not self.low <= value <= self.high or (self.above_low and value == self.low):
            return reader.fail(
                node, path, f"{scalar.text[:40]} is out of range", f"write {self._range}"
            )
        return value

    def accepts(self, text: str) -> bool:
        """Whether a text is such a number."""
        value = self._parse(text)
        return value is not None and self.low <= value <= self.high

    def _parse(self, text: str) -> float | int | None:
        try:
            return int(text[:400], 0) if self.whole else _finite(float(text[:400]))
        except ValueError:
            return None

    @property
    def _what(self) -> str:
        return "a whole number" if self.whole else "a number"

    @property
    def _range(self) -> str:
        bound = "above" if self.above_low else "from"
        return f"{self._what} {bound} {self.low:g} to {self.high:g}"

    def schema(self) -> JsonObject:
        schema: JsonObject = {"type": "integer" if self.whole else "number", "maximum": self.high}
        if self.quoted:
            schema["type"] = [schema["type"], "string"]
            schema["pattern"] = number_text(zero=not self.above_low)
        schema["exclusiveMinimum" if self.above_low else "minimum"] = self.low
        return schema


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of an enum's values."""

    values: type[StrEnum]

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        known = [str(value) for value in self.values]
        scalar = scalar_of(node, path, reader, f"one of {', '.join(known)}")
        if scalar is None:
            return INVALID
        if scalar.text in known:
            return self.values(scalar.text)
        meant = suggestion(scalar.text, known)
        remedy = f"use one of {', '.join(known)}" + (f" (did you mean `{meant}`?)" if meant else "")
        return reader.fail(node, path, f"`{scalar.text[:60]}` is not known", remedy)

    def schema(self) -> JsonObject:
        return {"enum": [str(value) for value in self.values]}
