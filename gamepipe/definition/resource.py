"""`resources` and `placement` of a pipeline: what it asks of a game node, and of which one."""

from typing import Any

from gamepipe.definition.kind import Flag, Number, Reader, Text
from gamepipe.definition.pattern import signed_number_text
from gamepipe.definition.shape import Either, Field, ListOf, Record
from gamepipe.definition.tree import Node
from gamepipe.definition.unit import DeviceCount, Size
from gamepipe.model.spec import GpuRequest, Match, PlacementRequest, Resources

_NAME = Text(what="a text of one line", scalars=True, pattern=r"[^\x00-\x1f\x7f]+", max_length=253)
_SHARES = ("vram", "encoders", "share")
_COUNT = DeviceCount(low=0)


class _GpuCount:
    """A plain number, or `all`, stands for `count`."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        count = _COUNT.read(node, path, reader)
        return GpuRequest(count=count) if isinstance(count, int) else count

    def schema(self) -> dict[str, Any]:
        return _COUNT.schema()


def _check_gpu(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    shared = [key for key in _SHARES if key in values]
    if values.get("count") and shared:
        problem = f"whole devices (`count`) and a share of one (`{shared[0]}`) exclude each other"
        reader.fail_at(f"{path}.count", problem, "keep one of the two")
    if "model" in values and not shared and "count" not in values:
        remedy = "add `count: 1`, or a share of one (`vram`, `encoders`, `share`)"
        reader.fail(node, path, "names a model but asks for no GPU", remedy)


def _build_gpu(values: dict[str, Any]) -> GpuRequest:
    return GpuRequest(
        count=values.get("count", 0),
        vram_bytes=values.get("vram", 0),
        encoders=values.get("encoders", 0),
        share=values.get("share", 0.0),
        models=values.get("model", ()),
    )


def _any_of(keys: tuple[str, ...]) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in keys]}


GPU = Record(
    fields={
        "count": Field(_COUNT, "Whole devices, or `all` of the node."),
        "vram": Field(Size(), "Memory of one device that is shared, such as 8GiB."),
        "encoders": Field(Number(low=1, high=1000, whole=True), "NVENC sessions of one device."),
        "share": Field(
            Number(low=0, high=1, above_low=True), "Part of one device's compute, above 0 to 1."
        ),
        "model": Field(
            ListOf(item=_NAME, least=1, most=100, single=True),
            "Models that will do; a part of the name is enough.",
        ),
    },
    check=_check_gpu,
    rules=(
        {
            "if": {"required": ["count"], "properties": {"count": {"not": {"const": 0}}}},
            "then": {"not": _any_of(_SHARES)},
        },
        {"if": {"required": ["model"]}, "then": _any_of(("count", *_SHARES))},
    ),
    build=_build_gpu,
)


def _build_resources(values: dict[str, Any]) -> Resources:
    return Resources(
        cpu=float(values.get("cpu", 0.0)),
        memory_bytes=values.get("memory", 0),
        disk_bytes=values.get("disk", 0),
        gpu=values.get("gpu", GpuRequest()),
    )


RESOURCES = Record(
    fields={
        "cpu": Field(Number(low=0, high=4096), "Cores, may be fractional."),
        "memory": Field(Size(), "Bytes of memory, such as 4GiB."),
        "disk": Field(Size(), "Bytes of disk, such as 20GiB."),
        "gpu": Field(
            Either(what="a number, `all`, or a mapping", scalar=_GpuCount(), mapping=GPU),
            "GPUs: whole devices, or a share of one.",
        ),
    },
    build=_build_resources,
)


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


_MATCH = Record(
    fields={
        "key": Field(
            _NAME, "Label of the node, or one of id, region, zone, os, kernel, architecture.", True
        ),
        "op": Field(_Operator(), "in, not in, exists, not exists, > or <.", True),
        "values": Field(ListOf(item=_NAME, most=100, single=True), "Values to compare with."),
    },
    check=_check_match,
    rules=(
        _for_ops(("in", "not in"), {"required": ["values"]}),
        _for_ops(("exists", "not exists"), {"properties": {"values": {"maxItems": 0, **_LIST}}}),
        _for_ops((">", "<"), {"required": ["values"], "properties": {"values": _ONE_NUMBER}}),
    ),
    build=lambda values: Match(**values),
)

PLACEMENT = Record(
    fields={
        "node": Field(_NAME, "Id of the only node that will do."),
        "region": Field(_NAME, "Region of the node."),
        "zone": Field(_NAME, "Zone of the node."),
        "match": Field(ListOf(item=_MATCH, most=100), "What the node must match."),
        "forbid": Field(ListOf(item=_MATCH, most=100), "What the node must not match."),
        "spread": Field(_NAME, "Label or place to spread over, such as zone."),
        "player_region": Field(_NAME, "Where the player is; near nodes come first."),
        "max_latency_ms": Field(
            Number(low=0, high=60_000, above_low=True), "Milliseconds from the player's region."
        ),
        "preemptible": Field(Flag(), "A pipeline of higher priority may take its place."),
    },
    build=lambda values: PlacementRequest(**values),
)
