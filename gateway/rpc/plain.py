"""Texts of a request that no database takes, found before anything is done with them."""

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.text import flaw


def check_values(request: Message) -> None:
    """Texts and numbers that no store can keep. Raises `InvalidRequest` naming the field, never its
    content."""
    for field, value in _values(request, ""):
        if isinstance(value, float):
            found = "" if math.isfinite(value) else "is not a finite number"
        else:
            found = flaw(value)
        if found:
            raise InvalidRequest(f"`{field}` {found}")


def _values(message: Message, path: str) -> Iterator[tuple[str, str | float]]:
    for field, value in message.ListFields():
        place = f"{path}.{field.name}".lstrip(".")
        for item in _items(value):
            if isinstance(item, Message):
                yield from _values(item, place)
            elif isinstance(item, str | float):
                yield place, item


def _items(value: Any) -> Iterator[Any]:
    """Of a list or a map (keys too), or the value itself."""
    if isinstance(value, str | bytes | Message) or not hasattr(value, "__iter__"):
        yield value
        return
    yield from value
    if hasattr(value, "values"):
        yield from value.values()
