"""`deploy.resources` of a container, as in Compose: device requests and limits."""

from typing import Any

from gamepipe.definition.kind import Number, Reader, Text
from gamepipe.definition.long_form import VALUE
from gamepipe.definition.shape import Field, ListOf, Record, TextMap
from gamepipe.definition.tree import Node
from gamepipe.definition.unit import DeviceCount, Size
from gamepipe.model.gpu import GPU_DRIVERS, NVIDIA_CAPABILITIES, is_gpu
from gamepipe.model.spec import DeviceRequest


def _check_request(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    if "count" in values and "device_ids" in values:
        remedy = "keep one of the two"
        reader.fail(node, path, "`count` and `device_ids` exclude each other", remedy)
    elif "device_ids" in values and is_gpu(_build_request(values)):
        remedy = (
            "write `count`: the placement picks free GPUs, and `resources.gpu.model` and "
            "`placement` say which will do"
        )
        reader.fail_at(f"{path}.device_ids", "GPUs are not chosen by id", remedy)


def _build_request(values: dict[str, Any]) -> DeviceRequest:
    return DeviceRequest(**{"capabilities": (), **values})


def _is_gpu_schema() -> dict[str, Any]:
    """`is_gpu` of a request, without its ids."""
    by_capability = {"capabilities": {"contains": {"enum": sorted(NVIDIA_CAPABILITIES)}}}
    named = {"driver": {"enum": sorted(GPU_DRIVERS)}}
    always = {"capabilities": {"contains": {"const": "gpu"}}}
    return {
        "anyOf": [
            {"not": {"required": ["driver"]}, "properties": by_capability},
            {"required": ["driver"], "properties": named},
            {"properties": always},
        ]
    }


_HAS_IDS = {"required": ["device_ids"]}
_GPU_IDS = {"properties": {"device_ids": {"contains": {"type": "string", "pattern": "/gpu="}}}}

_DEVICE_REQUEST = Record(
    fields={
        "capabilities": Field(ListOf(item=Text(), least=1), "Such as [gpu].", True),
        "driver": Field(Text(), "Such as nvidia."),
        "count": Field(DeviceCount(low=1), "How many devices, or `all`."),
        "device_ids": Field(
            ListOf(item=Text(scalars=True), least=1), "Devices by id; not of GPUs."
        ),
        "options": Field(TextMap(key=Text(), value=VALUE), "Options of the driver."),
    },
    check=_check_request,
    rules=(
        {"not": {"required": ["count", "device_ids"]}},
        {"if": _is_gpu_schema(), "then": {"not": _HAS_IDS}},
        {"if": _HAS_IDS | {"required": ["device_ids", "driver"]}, "then": {"not": _GPU_IDS}},
    ),
    build=_build_request,
)
_USE_RESOURCES = "ask for capacity with the pipeline's `resources`"

DEPLOY = Record(
    fields={
        "resources": Field(
            Record(
                fields={
                    "reservations": Field(
                        Record(
                            fields={
                                "devices": Field(
                                    ListOf(item=_DEVICE_REQUEST, most=64), "Devices such as GPUs."
                                )
                            },
                            refused={
                                "cpus": _USE_RESOURCES,
                                "memory": _USE_RESOURCES,
                                "generic_resources": _USE_RESOURCES,
                            },
                        ),
                        "What the container needs.",
                    ),
                    "limits": Field(
                        Record(
                            fields={
                                "cpus": Field(
                                    Number(low=0, high=4096, quoted=True, above_low=True),
                                    "Cores, may be fractional.",
                                ),
                                "memory": Field(Size(compose=True), "Bytes, such as 512MiB."),
                            },
                            refused={"pids": ""},
                        ),
                        "What the container may use at most.",
                    ),
                }
            ),
            "Reservations and limits.",
        )
    },
    refused=dict.fromkeys(
        (
            "mode",
            "replicas",
            "labels",
            "placement",
            "update_config",
            "rollback_config",
            "endpoint_mode",
        ),
        "",
    )
    | {"restart_policy": "use the step's `retry`"},
)
