"""Settings that are numbers by name: every wrong one is told, with the name that was meant."""

import math
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """For a field of numbers that have the names of a dataclass's fields."""

    of: type
    low: float = -math.inf
    """No number may be below."""
    each: bool = False
    """The numbers stand one level deeper, in a mapping by another name."""

    def __call__(self, given: Any) -> Any:
        """For a `BeforeValidator`: what was given, or `ValueError` with every mistake."""
        if isinstance(given, self.of):
            return given
        wrong = list(self._wrong_of_each(given) if self.each else self._wrong(given, ""))
        if wrong:
            raise ValueError("; ".join(wrong))
        return given

    def _wrong_of_each(self, given: Any) -> list[str]:
        if not isinstance(given, dict):
            return ["must be a mapping of names to mappings"]
        return [said for name, inner in given.items() for said in self._wrong(inner, f"{name}.")]

    def _wrong(self, given: Any, place: str) -> list[str]:
        if not isinstance(given, dict):
            example = fields(self.of)[0].name
            said = f'must be a mapping such as {{"{example}": 1}}'
            return [f"{place.rstrip('.')} {said}".strip()]
        found = (self._mistake(name, value) for name, value in given.items())
        return [f"{place}{said}" for said in found if said]

    def _mistake(self, name: str, value: Any) -> str:
        known = [field.name for field in fields(self.of)]
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean `{close[0]}`?" if close else f"use {', '.join(known)}"
            return f"`{name[:60]}` is not known: {meant}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return f"`{name}` must be a number"
        return f"`{name}` must be at least {self.low:g}" if value < self.low else ""
