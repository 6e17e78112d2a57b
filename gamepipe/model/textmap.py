"""Walks the texts of a value that is made of dataclasses, tuples and mappings."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text in it changed; keys and enums stay. Unchanged parts are shared."""
    if isinstance(value, Enum) or value is None:
        return value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map_texts(item, change) for item in value)
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            item.name: map_texts(getattr(value, item.name), change) for item in fields(value)
        }
        return replace(value, **changed)
    return value
