"""The `container` of a step: the fields of a Compose service that are honoured."""

from typing import Any

from gamepipe.definition.deploy import DEPLOY
from gamepipe.definition.health import HEALTHCHECK
from gamepipe.definition.kind import Choice, Flag, Reader, Text
from gamepipe.definition.long_form import (
    ARGUMENTS,
    DEVICE,
    ENVIRONMENT,
    PORT,
    TEXT,
    VALUE,
    VOLUME,
    ruled,
)
from gamepipe.definition.refused import COMPOSE_KEYS
from gamepipe.definition.shape import Field, ListOf, Record
from gamepipe.definition.tree import Node
from gamepipe.model import container_rule as rule
from gamepipe.model.spec import Container, PullPolicy

_CAPABILITY = Text(what="a capability such as SYS_ADMIN", template=True)


def _check_container(values: dict[str, Any], _node: Node, path: str, reader: Reader) -> None:
    for other in ("command", "entrypoint"):
        if "commands" in values and other in values:
            remedy = "`commands` takes the place of the entrypoint: keep one of them"
            reader.fail_at(f"{path}.{other}", f"`{other}` beside `commands`", remedy)
    for mount, first in rule.repeated_mounts(values.get("volumes", ()), values.get("tmpfs", ())):
        place = f"{path}.{mount}"
        if place not in reader.places:  # `tmpfs: /run` has no list to count in
            place = place.rpartition("[")[0]
        remedy = "give each its own folder in the container, or keep one of them"
        reader.fail_at(place, f"mounts the same folder as `{first}`", remedy)


def _build_container(values: dict[str, Any]) -> Container:
    resources = values.pop("deploy", {}).get("resources", {})
    limits = resources.get("limits", {})
    return Container(
        **values,
        device_requests=resources.get("reservations", {}).get("devices", ()),
        cpu_limit=limits.get("cpus"),
        memory_limit_bytes=limits.get("memory"),
    )


CONTAINER = Record(
    fields={
        "image": Field(ruled(rule.IMAGE), "Image to run.", True),
        "commands": Field(
            ListOf(item=VALUE, least=1, single=True),
            "Lines of one `/bin/sh -e` script in place of the entrypoint.",
        ),
        "command": Field(ARGUMENTS, "Arguments of the entrypoint.", nullable=True),
        "entrypoint": Field(ARGUMENTS, "Program in place of the image's.", nullable=True),
        "environment": Field(ENVIRONMENT, "Variables in the container.", nullable=True),
        "volumes": Field(ListOf(item=VOLUME), "Folders and volumes.", nullable=True),
        "ports": Field(ListOf(item=PORT), "Ports to publish on the node.", nullable=True),
        "devices": Field(ListOf(item=DEVICE), "Devices of the node.", nullable=True),
        "tmpfs": Field(
            ListOf(item=ruled(rule.TARGET), single=True), "Folders in memory.", nullable=True
        ),
        "cap_add": Field(ListOf(item=_CAPABILITY), "Capabilities to add.", nullable=True),
        "cap_drop": Field(ListOf(item=_CAPABILITY), "Capabilities to drop.", nullable=True),
        "security_opt": Field(ListOf(item=TEXT), "Such as seccomp=unconfined.", nullable=True),
        "privileged": Field(Flag(), "Give the container all rights on the node."),
        "hostname": Field(ruled(rule.HOSTNAME), "Host name in the container."),
        "user": Field(Text(template=True, scalars=True), "User, or user:group."),
        "working_dir": Field(ruled(rule.TARGET), "Folder that the program starts in."),
        "healthcheck": Field(HEALTHCHECK, "When the container counts as healthy."),
        "pull": Field(Choice(values=PullPolicy), "When to pull the image (default missing)."),
        "deploy": Field(DEPLOY, "Device reservations and limits, as in Compose."),
    },
    refused=COMPOSE_KEYS,
    check=_check_container,
    rules=(
        {
            "dependentSchemas": {
                "commands": {
                    "properties": {"command": {"type": "null"}, "entrypoint": {"type": "null"}}
                }
            }
        },
    ),
    build=_build_container,
    what="a mapping with `image`",
)
