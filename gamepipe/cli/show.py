"""Tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Names and messages come from files and programs: nothing in them is markup.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

GAP = "  "
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)", re.DOTALL)
_CONTROLS = {code: None for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


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


def say(text: str) -> None:
    """One message to standard output, as it is."""
    console.print(plain(text))


def warn(text: str) -> None:
    """One message beside the answer, which programs read."""
    errors.print(Text(one_line(text), style="yellow"))


def plain(text: str) -> str:
    """A text from outside without what would colour a terminal or move its cursor."""
    return _ESCAPE.sub("", text).translate(_CONTROLS)


def one_line(text: str) -> str:
    return " ".join(plain(text).split())


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str) -> None:
    """Fits a terminal, but keeps the first column whole; in a pipe each row is one line."""
    found = list(rows)
    if not found:
        console.print(empty)
    elif console.is_terminal:
        console.print(_table(titles, found))
    else:
        _print_lines([titles, *found])


def _table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(titles):
        table.add_column(title, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    return table


def _print_lines(rows: Iterable[Sequence[str | Text]]) -> None:
    """Columns under each other, however wide, and no blanks at the end of a line."""
    texts = [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        padded = (pad(text, width) for text, width in zip(row, widths, strict=True))
        console.print(GAP.join(padded).rstrip())


def pad(text: str, width: int) -> str:
    """Filled up to so many columns; wide letters take two."""
    return text + " " * (width - cell_len(text))


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
