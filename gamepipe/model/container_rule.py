"""Rules for the texts of a container: the parser holds literals to them, rendering the rest."""

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from gamepipe.model.spec import Container, Volume

VOLUME_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
_VOLUME_NAME = re.compile(VOLUME_NAME)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_LABEL = re.compile(_LABEL)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_PORT_NUMBER = (
    "(?=[0-9]{1,5}(?![0-9]))0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}"
    "|655[0-2][0-9]|6553[0-5])"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`wanted` completes "must be" and "must give"."""

    wanted: str
    accepts: Callable[[str], bool]
    pattern: str
    """What a regular expression can say of it; it matches every text that is accepted."""
    numbers: tuple[int, int] | None = None
    """The range of numbers that are accepted where numbers count as texts."""


@dataclass(frozen=True, slots=True)
class RuledText:
    path: str
    rule: Rule
    text: str


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535


def _is_ip(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _is_absolute(text: str) -> bool:
    return text.startswith("/") and "\0" not in text


def _is_volume_source(text: str) -> bool:
    return (text[:1] in {"/", "."} and "\0" not in text) or bool(_VOLUME_NAME.fullmatch(text))


def _is_hostname(text: str) -> bool:
    labels = text.split(".")
    return len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)


def _is_image(text: str) -> bool:
    return bool(text) and not any(char.isspace() or char == "\0" for char in text)


PORT = Rule("a port number between 1 and 65535", _is_port, _PORT_NUMBER, (1, 65535))
IP = Rule("an IP address", _is_ip, rf"\[*(?:{IPV4}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[^\]]*)?)\]*")
TARGET = Rule("an absolute path", _is_absolute, r"/[\s\S]*")
SOURCE = Rule(
    "an absolute path, a path that begins with `.`, or a volume's name",
    _is_volume_source,
    rf"[/.][\s\S]*|{VOLUME_NAME}",
)
HOSTNAME = Rule(
    "a host name (letters, digits, `-` and `.`)",
    _is_hostname,
    rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*",
)
IMAGE = Rule("an image name without spaces", _is_image, r"\S+")


def ruled_texts(container: Container) -> Iterator[RuledText]:
    """Every text that has a rule, absent ones too, in an order that rendering keeps.

    The path is relative to the container.
    """
    yield RuledText("image", IMAGE, container.image)
    yield RuledText("hostname", HOSTNAME, container.hostname)
    yield RuledText("working_dir", TARGET, container.working_dir)
    for number, volume in enumerate(container.volumes):
        yield RuledText(f"volumes[{number}]", SOURCE, volume.source)
        yield RuledText(f"volumes[{number}]", TARGET, volume.target)
    for number, port in enumerate(container.ports):
        yield RuledText(f"ports[{number}]", PORT, port.container)
        yield RuledText(f"ports[{number}]", PORT, port.host)
        yield RuledText(f"ports[{number}]", IP, port.host_ip)
    for number, device in enumerate(container.devices):
        yield RuledText(f"devices[{number}]", TARGET, device.source)
        yield RuledText(f"devices[{number}]", TARGET, device.target)
    for number, mount in enumerate(container.tmpfs):
        yield RuledText(f"tmpfs[{number}]", TARGET, mount)


def repeated_mounts(volumes: Sequence[Volume], tmpfs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(path of a mount, path of an earlier one on the same folder), relative to the container.

    Docker refuses some of these, and keeps the last one of others without a word. What still holds
    a template is passed over.
    """
    mounts = [(f"volumes[{number}]", volume.target) for number, volume in enumerate(volumes)]
    mounts += [(f"tmpfs[{number}]", mount) for number, mount in enumerate(tmpfs)]
    seen: dict[str, str] = {}
    for path, text in mounts:
        if "${{" in text:
            continue
        target = text.partition(":")[0] if path.startswith("tmpfs") else text
        first = seen.setdefault(posixpath.normpath(f"//{target}"), path)  # `//a` alone would stay
        if first != path:
            yield path, first
