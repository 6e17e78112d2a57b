"""Texts of a request that no database takes, found before anything is done with them."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from gamepipe.model.errors import InvalidRequest
from gateway.text import flaw


def check_texts(request: Message) -> None:
    """Raises `InvalidRequest` naming the field, never its content."""
    for field, text in _texts(request, ""):
        if found := flaw(text):
            raise InvalidRequest(f"`{field}` {found}")


def _texts(message: Message, path: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        place = f"{path}.{field.name}".lstrip(".")
        for item in _items(value):
            if isinstance(item, Message):
                yield from _texts(item, place)
            elif isinstance(item, str):
                yield place, item


def _items(value: Any) -> Iterator[Any]:
    """Of a list or a map (keys too), or the value itself."""
    if isinstance(value, str | bytes | Message) or not hasattr(value, "__iter__"):
        yield value
        return
    yield from value
    if hasattr(value, "values"):
        yield from value.values()
