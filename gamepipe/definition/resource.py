"""`resources` of a pipeline: what it asks of a game node."""

from typing import Any

from gamepipe.definition.kind import Number, Reader, Text
from gamepipe.definition.shape import Either, Field, ListOf, Record
from gamepipe.definition.tree import Node
from gamepipe.definition.unit import DeviceCount, Size
from gamepipe.model.spec import GpuRequest, Resources

NAME = Text(what="a text of one line", scalars=True, pattern=r"[^\x00-\x1f\x7f]+", max_length=253)
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
            ListOf(item=NAME, least=1, most=100, single=True),
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
