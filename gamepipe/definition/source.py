"""YAML (and so JSON) text as a tree of nodes that know their places.

Built from the parser's events, without recursion: depth, size and what aliases expand to are
bounded before anything is read from the tree.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from gamepipe.definition.tree import Mapping, Node, Scalar, Sequence

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 100_000
"""Nodes after aliases are expanded; 500 full steps stay far below it."""
_NODE_LENGTH = 64
"""Each 64 characters of a text count as a node, so that aliases of long texts are bounded too."""
_TAG = "tag:yaml.org,2002:"
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class SourceError(Exception):
    """Text that is no readable document; where, what, and what to do."""

    def __init__(self, problem: str, remedy: str, line: int = 0, column: int = 0) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.line, self.column = problem, remedy, line, column


def read_source(text: str) -> Node:
    """The document's root; raises `SourceError`."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SourceError(
            "the file is larger than 1 MiB", "shorten it, or split the pipeline", 1, 1
        )
    builder = _Builder(_LINE_END.split(text))
    try:
        for event in _events(text):
            builder.feed(event)
    except MarkedYAMLError as error:
        raise _broken(error) from None
    except ReaderError as error:
        raise _unreadable(text, error) from None
    except (YAMLError, ValueError, OverflowError):
        raise SourceError(
            "this is not YAML", "check indentation, quotes and brackets", 1, 1
        ) from None
    if builder.root is None:
        raise SourceError("the file is empty", "write at least `name` and `steps`", 1, 1)
    return builder.root


def _events(text: str) -> Iterator[Any]:
    try:
        # Without `plug_ins` each parser would look for some on the disk.
        yield from YAML(typ="rt", pure=True, plug_ins=[]).parse(text)
    except (RecursionError, AttributeError, IndexError, KeyError, TypeError, AssertionError):
        # What ruamel raises for some malformed texts instead of an error with a mark.
        raise SourceError(
            "this is not YAML", "check indentation, quotes and brackets", 1, 1
        ) from None


def _broken(error: MarkedYAMLError) -> SourceError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = " ".join(str(error.problem or error.context or "unreadable").split())
    remedy = "check indentation, quotes and brackets here and just above"
    if "\\t" in problem:
        remedy = "indent with spaces instead of tabs"
    elif "start any token" in problem:
        remedy = "put the text into quotes"
    return SourceError(f"this is not YAML: {problem}", remedy, line, column)


def _unreadable(text: str, error: ReaderError) -> SourceError:
    before = text[: int(error.position)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    problem = f"character U+{ord(text[len(before)]):04X} is not allowed in YAML"
    return SourceError(
        problem, "remove it, or write it as an escape in double quotes", line, column
    )


class _Builder:
    """Turns events into nodes."""

    def __init__(self, lines: list[str]) -> None:
        self.root: Node | None = None
        self._lines = lines
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Scalar | None] = []
        self._anchors: dict[str, Node] = {}
        self._anchor_of: list[str | None] = []
        self._documents = 0

    def feed(self, event: Any) -> None:
        place = {"line": event.start_mark.line + 1, "column": event.start_mark.column + 1}
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise SourceError("a second document begins here", "keep one per file", **place)
            case ScalarEvent():
                node = _scalar(event, place, self._lines)
                self._remember(event.anchor, node)
                self._add(node)
            case AliasEvent():
                self._add(self._aliased(event.anchor, place))
            case SequenceStartEvent():
                self._begin(Sequence(**place), event, "seq")
            case MappingStartEvent():
                self._begin(Mapping(**place), event, "map")
            case SequenceEndEvent() | MappingEndEvent():
                self._end()

    def _begin(self, node: Sequence | Mapping, event: Any, natural: str) -> None:
        _tag_of(event, node.line, node.column, {natural})
        if len(self._open) >= MAX_DEPTH:
            remedy = f"nest at most {MAX_DEPTH} deep"
            raise SourceError("nested too deeply", remedy, node.line, node.column)
        self._open.append(node)
        self._keys.append(None)
        self._anchor_of.append(event.anchor)

    def _end(self) -> None:
        node = self._open.pop()
        self._keys.pop()
        self._remember(self._anchor_of.pop(), node)
        self._add(node)

    def _remember(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _aliased(self, anchor: str, place: dict[str, int]) -> Node:
        if anchor in self._anchor_of or anchor not in self._anchors:
            remedy = f"define `&{anchor}` above, outside of this value"
            raise SourceError(f"alias `*{anchor}` names nothing usable", remedy, **place)
        return self._anchors[anchor]

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += node.size
        if parent.size > MAX_NODES:
            remedy = f"use fewer values and aliases (limit {MAX_NODES})"
            raise SourceError("the file holds too many values", remedy, node.line, node.column)
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = _key(node)
        else:
            _put_at_key(node, self._keys[-1])
            _pair(parent, self._keys[-1], node)
            self._keys[-1] = None


def _key(node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise SourceError(
            "a key must be a plain text", "write `key: value`", node.line, node.column
        )
    return node


def _put_at_key(value: Node, key: Scalar) -> None:
    """A value that is not written stands where its key does, not where the next token begins."""
    if isinstance(value, Scalar) and value.plain and not value.text:
        value.line, value.column = key.line, key.column


def _pair(mapping: Mapping, key: Scalar, value: Node) -> None:
    if key.text != "<<" or not key.plain:
        mapping.pairs.append((key, value))
        return
    sources = value.items if isinstance(value, Sequence) else [value]
    for source in sources:
        if not isinstance(source, Mapping):
            remedy = "write `<<: *anchor` with the anchor on a mapping"
            raise SourceError("`<<` merges mappings only", remedy, key.line, key.column)
        mapping.merged.extend(source.pairs)
        mapping.merged.extend(source.merged)


def _scalar(event: Any, place: dict[str, int], lines: list[str]) -> Scalar:
    text = event.value
    if _SURROGATE.search(text):
        text = _join_surrogates(text, place)
    scalar = Scalar(
        line=place["line"],
        column=place["column"],
        size=1 + len(text) // _NODE_LENGTH,
        text=text,
        plain=event.style in (None, ""),
        indent=_indent(text, lines[place["line"] :]) if event.style == "|" else None,
        verbatim=_is_verbatim(event),
    )
    scalar.tag = _tag_of(event, scalar.line, scalar.column, {"str", "int", "float", "bool", "null"})
    return scalar


def _indent(text: str, lines: list[str]) -> int:
    """The spaces before the lines of a `|` block; `lines` begin below its head."""
    for read, written in zip(text.split("\n"), lines, strict=False):
        if read:
            return len(written) - len(read)
    return 0


def _is_verbatim(event: Any) -> bool:
    start, end = event.start_mark, event.end_mark
    width = len(event.value) + (0 if event.style in (None, "") else 2)
    return bool(start.line == end.line and end.column - start.column == width)


def _join_surrogates(text: str, place: dict[str, int]) -> str:
    r"""JSON writes an emoji as two `\u` escapes; half of one is a mistake."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        remedy = r"write the character itself, or both of its \u escapes"
        raise SourceError("half of a character (a lone surrogate)", remedy, **place) from None


def _tag_of(event: Any, line: int, column: int, allowed: set[str]) -> str:
    tag = str(event.tag) if event.tag is not None else ""
    name = tag.removeprefix(_TAG).removeprefix("!!")
    if tag in {"", "!"} or (name != tag and name in allowed):
        return "str" if tag == "!" and "str" in allowed else name
    raise SourceError(f"tag `{tag}` is not supported", "remove it", line, column)
