"""`placement` of a pipeline: which game node it may run on, and which it would rather."""

from enum import StrEnum
from typing import Any

from gamepipe.definition.kind import Choice, Flag, Number, Reader, Text
from gamepipe.definition.pattern import signed_number_text
from gamepipe.definition.resource import NAME
from gamepipe.definition.shape import Either, Field, ListOf, Record
from gamepipe.definition.tree import Node
from gamepipe.model.spec import Match, PlacementRequest, Wish


class _Operator:
    """How a match compares."""

    _known = ("in", "not in", "exists", "not exists", ">", "<")
    _text = Text(what=f"one of {', '.join(_known)}")

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        text = self._text.read(node, path, reader)
        if not isinstance(text, str) or text in self._known:
            return text
        problem = f"`{text[:20]}` is not known"
        return reader.fail(node, path, problem, f"use {self._text.what}")

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self._known)}


def _check_match(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    op, count = values.get("op"), len(values.get("values", ()))
    if op in {"in", "not in"} and not count and f"{path}.values" not in reader.places:
        remedy = "add `values`: a list of those that count"
        reader.fail(node, f"{path}.values", f"`{op}` needs values", remedy)
    if op in {"exists", "not exists"} and count:
        reader.fail_at(f"{path}.values", f"`{op}` takes no values", "remove them")
    if op in {">", "<"} and "values" in values and not _is_number(values["values"]):
        reader.fail_at(f"{path}.values", f"`{op}` needs exactly one number", "write `values: [8]`")
    if op in {">", "<"} and f"{path}.values" not in reader.places:
        reader.fail(node, f"{path}.values", f"`{op}` needs one number", "add `values: [8]`")


def _is_number(values: tuple[str, ...]) -> bool:
    number = Number(low=-1e18, high=1e18)
    return len(values) == 1 and number.accepts(values[0])


_LIST = {"type": "array"}
_NUMBER = {"type": ["number", "string"], "pattern": signed_number_text()}
_ONE_NUMBER = {"anyOf": [_NUMBER, {**_LIST, "minItems": 1, "maxItems": 1, "items": _NUMBER}]}


def _for_ops(ops: tuple[str, ...], then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"op": {"enum": list(ops)}}, "required": ["op"]}, "then": then}


_MATCH_FIELDS = {
    "key": Field(
        NAME, "Label of the node, or one of id, region, zone, os, kernel, architecture.", True
    ),
    "op": Field(_Operator(), "in, not in, exists, not exists, > or <.", True),
    "values": Field(ListOf(item=NAME, most=100, single=True), "Values to compare with."),
}
_MATCH_RULES = (
    _for_ops(("in", "not in"), {"required": ["values"]}),
    _for_ops(("exists", "not exists"), {"properties": {"values": {"maxItems": 0, **_LIST}}}),
    _for_ops((">", "<"), {"required": ["values"], "properties": {"values": _ONE_NUMBER}}),
)
_MATCH = Record(
    fields=_MATCH_FIELDS,
    check=_check_match,
    rules=_MATCH_RULES,
    build=lambda values: Match(**values),
)


def _build_wish(values: dict[str, Any]) -> Wish:
    weight = float(values.get("weight", 1.0))
    return Wish(
        match=Match(**{key: values[key] for key in _MATCH_FIELDS if key in values}), weight=weight
    )


_WISH = Record(
    fields=_MATCH_FIELDS
    | {
        "weight": Field(
            Number(low=0, high=1000, above_low=True),
            "Cost of a node that does not match, above 0; 1 if absent.",
        )
    },
    check=_check_match,
    rules=_MATCH_RULES,
    build=_build_wish,
)


class _Group(StrEnum):
    """Whose pipelines are spread."""

    TENANT = "tenant"
    TEMPLATE = "template"


def _build_spread(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "spread": values["over"],
        "spread_by": str(values.get("by", _Group.TEMPLATE)),
        "spread_most": values.get("most"),
    }


class _Over:
    """A plain name stands for `over`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        name = NAME.read(node, path, reader)
        return {"spread": name} if isinstance(name, str) else name

    def schema(self) -> dict[str, Any]:
        return NAME.schema()


_SPREAD = Record(
    fields={
        "over": Field(NAME, "Label or place to spread over, such as zone.", True),
        "by": Field(
            Choice(values=_Group),
            "Whose pipelines are counted: tenant or template; template if absent.",
        ),
        "most": Field(
            Number(low=1, high=1_000_000, whole=True), "So many at one place, and no more."
        ),
    },
    build=_build_spread,
)


def _build_placement(values: dict[str, Any]) -> PlacementRequest:
    return PlacementRequest(**values | values.get("spread", {}))


PLACEMENT = Record(
    fields={
        "node": Field(NAME, "Id of the only node that will do."),
        "region": Field(NAME, "Region of the node."),
        "zone": Field(NAME, "Zone of the node."),
        "match": Field(ListOf(item=_MATCH, most=100), "What the node must match."),
        "forbid": Field(ListOf(item=_MATCH, most=100), "What the node must not match."),
        "prefer": Field(ListOf(item=_WISH, most=100), "What the node should rather match."),
        "spread": Field(
            Either(what="a name such as zone, or a mapping", scalar=_Over(), mapping=_SPREAD),
            "What pipelines are spread over.",
        ),
        "player_region": Field(NAME, "Where the player is; near nodes come first."),
        "max_latency_ms": Field(
            Number(low=0, high=60_000, above_low=True), "Milliseconds from the player's region."
        ),
        "preemptible": Field(Flag(), "A pipeline of higher priority may take its place."),
    },
    build=_build_placement,
)
