"""`deploy.resources` of a container, as in Compose: device requests and limits."""

from typing import Any

from gamepipe.definition.kind import Number, Reader, Text
from gamepipe.definition.long_form import VALUE
from gamepipe.definition.shape import Field, ListOf, Record, TextMap
from gamepipe.definition.tree import Node
from gamepipe.definition.unit import Size
from gamepipe.model.spec import DeviceRequest


class _Count:
    """A number of devices, or `all` (-1)."""

    _number = Number(low=1, high=64, whole=True)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if getattr(node, "text", "") == "all":
            return -1
        return self._number.read(node, path, reader)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": "all"}, self._number.schema()]}


def _check_request(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    if "count" in values and "device_ids" in values:
        remedy = "keep one of the two"
        reader.fail(node, path, "`count` and `device_ids` exclude each other", remedy)


_DEVICE_REQUEST = Record(
    fields={
        "capabilities": Field(ListOf(item=Text(), least=1), "Such as [gpu].", True),
        "driver": Field(Text(), "Such as nvidia."),
        "count": Field(_Count(), "How many devices, or `all`."),
        "device_ids": Field(ListOf(item=Text(scalars=True), least=1), "Devices by id."),
        "options": Field(TextMap(key=Text(), value=VALUE), "Options of the driver."),
    },
    check=_check_request,
    build=lambda values: DeviceRequest(**values),
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
