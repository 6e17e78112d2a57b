"""A pipeline as a terminal shows it while it runs: what it does, and its steps below."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gamepipe.cli import show

MARKS = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "skipped": ("-", "bright_black"),
    "pending": ("·", "bright_black"),
}
LEAST_ROWS = 3
HEAD_ROWS = 4


def draw(record: dict[str, Any], *, rows: int, note: str = "") -> Group:
    """Of many steps only those around the ones that run, so that it fits into so many rows."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for place in range(5):
        table.add_column(overflow="fold", no_wrap=place == 0)
    for step in _around(record["steps"], max(LEAST_ROWS, rows - HEAD_ROWS)):
        table.add_row(*_row(step))
    return Group(Text(), _head(record, note), table)


def _head(record: dict[str, Any], note: str) -> Text:
    """Its end, the reason, is folded, not cut."""
    progress = record["progress"]
    why = show.outcome(record)
    head = Text.assemble(
        (record["id"], "bold"),
        " ",
        show.state(record["state"]),
        f" {progress['ended']}/{progress['total']} steps, {progress['percent']:.0f} %, ",
        show.elapsed(record["started_at"] or record["created_at"], record["ended_at"]),
        f"  {show.one_line(why)}" if why else "",
        (f"\n{note}" if note else "", "yellow"),
    )
    head.no_wrap, head.overflow = False, "fold"
    return head


def _around(steps: Sequence[dict[str, Any]], most: int) -> Sequence[dict[str, Any]]:
    live = (place for place, step in enumerate(steps) if step["state"] in ("running", "pending"))
    first = next(live, len(steps))
    begin = max(0, min(first - 1, len(steps) - most))
    return steps[begin : begin + most]


def _row(step: dict[str, Any]) -> tuple[Any, ...]:
    name, took = show.one_line(step["name"]), show.elapsed(step["started_at"], step["ended_at"])
    if step["state"] == "running":
        bar = ProgressBar(total=100, completed=step["percent"] or 0, width=20)
        mark = Spinner("dots", style="cyan")
        return mark, Text(name, style="cyan"), took, bar, show.one_line(step["message"])
    symbol, style = MARKS[step["state"]]
    why = show.one_line(show.outcome(step))
    return Text(symbol, style=style), Text(name, style=style), took, "", why
