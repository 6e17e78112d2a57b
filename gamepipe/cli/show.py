"""Tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 10_000
"""Columns of a table that no terminal shows: programs read it line by line."""
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = PIPED_WIDTH


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


STATE_STYLES = {
    "completed": "green",
    "running": "cyan",
    "pending": "yellow",
    "not_started": "yellow",
    "failed": "red",
    "canceled": "magenta",
    "skipped": "bright_black",
    "online": "green",
    "suspect": "yellow",
    "lost": "red",
    "normal": "green",
    "maintenance": "yellow",
    "disabled": "red",
    "unhealthy": "yellow",
    "stopping": "yellow",
    "exited": "red",
}


def state(name: str) -> Text:
    return Text(name, style=STATE_STYLES.get(name, ""))


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str) -> None:
    """Fits a terminal, but keeps the first column whole; in a pipe each row is one line."""
    found = list(rows)
    if not found:
        console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(titles):
        table.add_column(title, overflow="fold", no_wrap=place == 0)
    for row in found:
        table.add_row(*row)
    console.print(table)


def when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def ago(text: str | None) -> str:
    """`3m ago`."""
    moment = when(text)
    if moment is None:
        return "-"
    return f"{span((datetime.now(UTC) - moment).total_seconds())} ago"


def span(seconds: float) -> str:
    """`4.2s`, `3m12s`, `2h05m`, `3d4h`."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h"


def size(number: float) -> str:
    """`1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def elapsed(started: str | None, ended: str | None) -> str:
    """Between two times of the service; until now for what still runs."""
    begin = when(started)
    if begin is None:
        return "-"
    return span(((when(ended) or datetime.now(UTC)) - begin).total_seconds())


def outcome(item: dict[str, Any]) -> str:
    """Reason and message in one text."""
    return ": ".join(part for part in (item.get("reason"), item.get("message")) if part)
