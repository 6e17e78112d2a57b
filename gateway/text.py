"""What no text from people may hold: no database and no process takes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from gamepipe.model.text import flaw


def flaws(value: Any, path: str = "") -> Iterator[str]:
    """Of every text in a JSON value, with its path."""
    if isinstance(value, str):
        if found := flaw(value):
            yield f"{path or 'the text'} {found}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flaws(key, f"a key of {path or 'the body'}")
            yield from flaws(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from flaws(item, f"{path}[{number}]")
