"""Something that stands in the way of a pipeline."""

from collections.abc import Callable
from dataclasses import dataclass

from gamepipe.scheduling.values import Mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Obstacle:
    """Of one kind: where it stands in the way, and what to say about such a node."""

    code: str
    where: Mask
    """[n]"""
    say: Callable[[int], str]
    """Of a row for which `where` is true."""
    subject: str = ""
    """What of the request it is about, where one code may stand for several things."""
