"""The nodes of a document, each with its place."""

import re
from dataclasses import dataclass, field

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")


@dataclass(kw_only=True, slots=True)
class Node:
    """Line and column count from 1; `size` counts the node and all below it."""

    line: int
    column: int
    size: int = 1


@dataclass(kw_only=True, slots=True)
class Scalar(Node):
    """`text` as YAML reads it. `plain`: neither quoted nor a block."""

    text: str
    plain: bool = True
    indent: int | None = None
    """Of a `|` block: the spaces before its lines. None: it is none."""
    verbatim: bool = False
    """Stands on one line exactly as it reads, so that places within it can be told."""
    tag: str = ""

    def place_of(self, offset: int) -> tuple[int, int]:
        """Line and column of a character; the scalar's own where it cannot be told."""
        before = self.text[:offset]
        if self.indent is not None:
            tail = before.rpartition("\n")[2]
            return self.line + 1 + before.count("\n"), self.indent + len(tail) + 1
        if not self.verbatim:
            return self.line, self.column
        return self.line, self.column + (0 if self.plain else 1) + len(before)

    @property
    def kind(self) -> str:
        """What the scalar is by YAML 1.2: null, bool, number or text."""
        if self.tag:
            return {"int": "number", "float": "number", "str": "text"}.get(self.tag, self.tag)
        if not self.plain:
            return "text"
        for kind, shape in (("null", _NULL), ("bool", _BOOL), ("number", _NUMBER)):
            if shape.fullmatch(self.text):
                return kind
        return "text"


@dataclass(kw_only=True, slots=True)
class Sequence(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Mapping(Node):
    """Pairs as written, duplicates included; merge keys (`<<`) are resolved."""

    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)
    merged: list[tuple[Scalar, Node]] = field(default_factory=list)
    """From `<<`: used where no pair of the mapping itself has the key."""
