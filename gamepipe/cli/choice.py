"""How a node was chosen, as a table: a column for each node, a row for each term of the cost."""

from collections.abc import Iterator
from typing import Any

from gamepipe.cli import show

_NOT_KEPT = "how it was chosen was not kept"


def headline(explanation: dict[str, Any] | None) -> str:
    """In one line."""
    if explanation is None:
        return _NOT_KEPT
    fitted, nodes = explanation["candidates"], explanation["nodes"]
    if fitted == 1:
        return f"the only one of {nodes} node(s) that fits" if nodes > 1 else "the only node"
    return f"the cheapest of {fitted} that fit, of {nodes} nodes"


def print_choice(explanation: dict[str, Any] | None, *, title: str = "") -> None:
    """The one that was chosen comes first; the less it costs, the better."""
    show.say(f"{title or 'chosen':<9} {headline(explanation)}")
    if explanation is None or len(explanation["ranked"]) < 2:
        return
    show.say("")
    ranked = explanation["ranked"]
    titles = ("COST", *(one["node_id"] for one in ranked))
    show.print_table(titles, _rows(ranked), "")


def _rows(ranked: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Terms that are nothing on every node say nothing."""
    names = dict.fromkeys(name for one in ranked for name in one["terms"])
    for name in names:
        costs = [one["terms"].get(name, 0.0) for one in ranked]
        if any(round(cost, 3) for cost in costs):
            yield (name, *(f"{cost:.3f}" for cost in costs))
    yield ("in all", *(f"{one['cost']:.3f}" for one in ranked))


def print_earlier(generations: list[dict[str, Any]], *, everything: bool) -> None:
    """Placements before, the newest first."""
    for one in generations:
        place = f"{one['node_id']} (generation {one['number']})"
        made = one.get("preempted_for")
        left = f"; it made room for {made}, whose priority is higher" if made else ""
        show.say(f"\nearlier   {place}: {headline(one['explanation'])}{left}")
        if everything and one["explanation"]:
            print_choice(one["explanation"])
