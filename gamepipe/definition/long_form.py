"""What has a short and a long form in Compose: volumes, ports, devices, environment, commands."""

from typing import Any

from gamepipe.definition.kind import Flag, Reader, Text
from gamepipe.definition.shape import Either, Field, ListOf, Record, TextMap
from gamepipe.definition.short import (
    PROTOCOLS,
    Assignment,
    Assignments,
    ShortDevice,
    ShortPort,
    ShortVolume,
    Words,
)
from gamepipe.definition.tree import Node
from gamepipe.model import container_rule as rule
from gamepipe.model.spec import Device, Port, Volume

TEXT = Text(template=True)
VALUE = Text(template=True, scalars=True, empty=True)
VARIABLE = Text(what="a variable's name (letters, digits, _)", pattern="[A-Za-z_][A-Za-z0-9_.-]*")


def ruled(wanted: rule.Rule, *, scalars: bool = False) -> Text:
    """A text that must fit a rule, also after its templates are filled in."""
    return Text(what=wanted.wanted, template=True, rule=wanted, scalars=scalars)


def _check_kind(*allowed: str, key: str = "type", instead: str = "") -> Any:
    def check(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
        kind = values.pop(key, allowed[0])
        if kind not in allowed:
            remedy = instead or f"use {' or '.join(allowed)}"
            reader.fail(node, f"{path}.{key}", f"`{kind[:20]}` is not supported", remedy)

    return check


VOLUME = Either(
    what="`SOURCE:TARGET` or a mapping",
    scalar=ShortVolume(),
    mapping=Record(
        fields={
            "type": Field(Text(), "bind or volume."),
            "source": Field(ruled(rule.SOURCE), "Path on the node, or a volume's name.", True),
            "target": Field(ruled(rule.TARGET), "Absolute path in the container.", True),
            "read_only": Field(Flag(), "Mount it read-only."),
        },
        refused={
            "bind": "",
            "volume": "",
            "tmpfs": "use `tmpfs` of the container",
            "image": "",
            "consistency": "",
            "cluster": "",
        },
        check=_check_kind("bind", "volume", instead="use bind or volume (or the key `tmpfs`)"),
        rules=({"properties": {"type": {"enum": ["bind", "volume"]}}},),
        build=lambda values: Volume(**values),
    ),
)


def _build_port(values: dict[str, Any]) -> Port:
    return Port(
        container=values["target"],
        host=values.get("published", ""),
        host_ip=values.get("host_ip", ""),
        protocol=values.get("protocol", "tcp"),
    )


def _check_protocol(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    if values.get("protocol", "tcp") not in PROTOCOLS:
        remedy = f"use one of {', '.join(PROTOCOLS)}"
        reader.fail(node, f"{path}.protocol", "the protocol is not known", remedy)


PORT = Either(
    what="a port such as `8080:80`, or a mapping",
    scalar=ShortPort(),
    mapping=Record(
        fields={
            "target": Field(ruled(rule.PORT, scalars=True), "Port in the container.", True),
            "published": Field(ruled(rule.PORT, scalars=True), "Port on the node."),
            "host_ip": Field(ruled(rule.IP), "Address on the node to bind."),
            "protocol": Field(Text(), "tcp, udp or sctp."),
        },
        refused={"mode": "ports are always published on the node", "name": "", "app_protocol": ""},
        check=_check_protocol,
        rules=({"properties": {"protocol": {"enum": list(PROTOCOLS)}}},),
        build=_build_port,
    ),
)

DEVICE = Either(
    what="a device such as `/dev/dri:/dev/dri`, or a mapping",
    scalar=ShortDevice(),
    mapping=Record(
        fields={
            "source": Field(ruled(rule.TARGET), "Path on the node.", True),
            "target": Field(ruled(rule.TARGET), "Path in the container."),
            "permissions": Field(Text(what="any of r, w, m", pattern="[rwm]{1,3}"), "rwm."),
        },
        build=lambda values: Device(**{"target": values["source"], **values}),
    ),
)

ENVIRONMENT = Either(
    what="a mapping, or a list of `KEY=value`",
    mapping=TextMap(key=VARIABLE, value=VALUE),
    sequence=Assignments(items=ListOf(item=Assignment(key=VARIABLE))),
)

ARGUMENTS = Either(
    what="a command line or a list of words",
    scalar=Words(),
    sequence=ListOf(item=VALUE),
)
