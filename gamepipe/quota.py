"""Settings of the queue that are mappings: every wrong entry is told, with what would be right."""

import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from gamepipe.scheduling.limit import LABEL

KINDS = ("tenant", "template")
_LIMITS = 'such as {"tenant": {"acme": 10, "*": 50}, "label:game": {"*": 3}}'
_WEIGHTS = 'such as {"acme": 4, "*": 1}'


def checked_limits(given: Any) -> Any:
    """Kind -> name -> number. Raises `ValueError` with every mistake."""
    return _checked(given, _wrong_limits(given))


def checked_weights(given: Any) -> Any:
    """Tenant -> weight. Raises `ValueError` with every mistake."""
    return _checked(given, _wrong_weights(given))


def _checked(given: Any, wrong: Iterator[str]) -> Any:
    found = list(wrong)
    if found:
        raise ValueError("; ".join(found))
    return given


def _wrong_limits(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"must be a mapping {_LIMITS}"
        return
    for kind, named in given.items():
        if kind not in KINDS and not kind[len(LABEL) :] * kind.startswith(LABEL):
            yield _unknown(kind)
        elif not isinstance(named, dict):
            yield f"`{kind}` must be a mapping of names (`*`: all others) to numbers"
        else:
            yield from _wrong_numbers(kind, named)


def _unknown(kind: str) -> str:
    close = get_close_matches(kind, KINDS, n=1)
    meant = f"did you mean `{close[0]}`?" if close else f"use {', '.join(KINDS)} or {LABEL}KEY"
    return f"`{kind[:60]}` is not known: {meant}"


def _wrong_numbers(kind: str, named: dict[str, Any]) -> Iterator[str]:
    for name, most in named.items():
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            yield f"`{kind}.{name[:60]}` must be a whole number from 0 on"


def _wrong_weights(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"must be a mapping {_WEIGHTS}"
        return
    for tenant, weight in given.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            yield f"`{tenant[:60]}` must be a number above 0"
