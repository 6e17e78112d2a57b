"""What a JSON Schema can say of texts. A text that holds a template is let through: only its values
tell whether it fits."""

import re

from gamepipe.model.container_rule import IPV4, PORT, VOLUME_NAME
from gamepipe.model.spec import JsonObject

_TEMPLATE = r"\$\{\{"
_NO_TEMPLATE = rf"(?![\s\S]*{_TEMPLATE})"
_BLANK = r"(?=[\s\S]*\S)"
_SOURCE = rf"(?:[/.][^:]*|{VOLUME_NAME})"
_IP = rf"(?:\[{IPV4}\]|{IPV4}|\[[0-9A-Fa-f:.]*(?:%[^\]]*)?\])"
_NUMBER = r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"

SHORT_VOLUME = rf"{_SOURCE}:/[^:]*(?::r[ow])?"
SHORT_PORT = rf"(?:(?:{_IP}?:)?{PORT.pattern}:|{_IP}::)?{PORT.pattern}(?:/(?:tcp|udp|sctp))?"
SHORT_DEVICE = r"/[^:]*(?::/[^:]*)?(?::[rwm]{1,3})?"


def matching(pattern: str, *, template: bool = False, blank: bool = True) -> str:
    """A pattern for whole texts; `blank`: those of nothing but spaces may match too."""
    if not blank and re.fullmatch(pattern, " "):
        pattern = f"{_BLANK}(?:{pattern})"
    if not template and re.fullmatch(pattern, "a${{"):
        pattern = f"{_NO_TEMPLATE}(?:{pattern})"
    whole = f"^(?:{pattern})$"
    return f"{_TEMPLATE}|{whole}" if template else whole


def short_form(pattern: str) -> JsonObject:
    """Of a text in a short form of Compose."""
    return {"type": "string", "pattern": matching(pattern, template=True)}


def number_text(*, zero: bool) -> str:
    """Of a number from 0 on that may be quoted, as Python reads it."""
    return rf"^\s*{'' if zero else '(?=[^1-9]*[1-9])'}[+]?{_NUMBER}\s*$"


def signed_number_text() -> str:
    return rf"^\s*[-+]?{_NUMBER}\s*$"
