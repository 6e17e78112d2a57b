"""A place in the queue, and what it is counted by."""

from collections.abc import Iterator
from typing import Any

from gamepipe.cli import show

_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def place(turn: dict[str, Any]) -> str:
    """`3rd of 12 in the queue`."""
    return f"{ordinal(turn['position'])} of {turn['waiting']} in the queue"


def ordinal(number: int) -> str:
    """`1st`, `12th`, `103rd`."""
    teens = 10 < number % 100 < 14
    return f"{number}{'th' if teens else _ENDINGS.get(number % 10, 'th')}"


def print_turn(turn: dict[str, Any], *, holds: str = "holds") -> None:
    """What its place is counted by, and who is before it."""
    tenant, share = show.one_line(turn["tenant"]), f"{holds} nothing"
    if turn["share"]:
        share = f"{holds} {turn['share']:.0%} of all {turn['share_of']}"
    weight = f"with weight {turn['weight']:g}"
    show.say(f"turn      priority {turn['priority']}; tenant {tenant} {share}, {weight}")
    limits = f" (and {turn['limited']} that limits hold back)" if turn["limited"] else ""
    show.say(f"before it {', '.join(_before(turn)) or 'nobody'}{limits}")


def _before(turn: dict[str, Any]) -> Iterator[str]:
    if turn["above"]:
        yield f"{turn['above']} of a higher priority"
    if turn["older"]:
        yield f"{turn['older']} older of its tenant"
    if turn["others"]:
        yield f"{turn['others']} of other tenants"
