"""The file named by `$GAMEPIPE_OUTPUT`: outputs and progress, line by line.

A step appends `KEY=value` lines for its outputs (the last one of a name counts) and
`GAMEPIPE_PROGRESS=<percent> [message]` lines for its progress. Blank lines are skipped.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gamepipe.limit import OUTPUT_BYTES

PROGRESS_NAME = "GAMEPIPE_PROGRESS"
MAX_OUTPUT_BYTES = OUTPUT_BYTES
MAX_MESSAGE_LENGTH = 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROGRESS = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*%?(?:\s+(.*))?")
_READ_BYTES = 256 * 1024
Mask = Callable[[str], str]
"""Takes the values of envs and secrets out of a line, before anything is cut from it."""


class BadOutput(Exception):
    """The output file breaks a rule; the message names the line and the rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressMark:
    percent: float
    message: str


def parse_progress(value: str) -> ProgressMark | None:
    """`42`, `42.5%`, `42 unpacking`; None when it is none of these."""
    match = _PROGRESS.fullmatch(value)
    if match is None:
        return None
    percent = min(float(match[1]), 100.0)
    return ProgressMark(percent=percent, message=(match[2] or "").strip()[:MAX_MESSAGE_LENGTH])


def read_outputs(path: Path, declared: tuple[str, ...], *, mask: Mask = str) -> dict[str, str]:
    """Outputs of a finished attempt; raises `BadOutput`.

    Args:
        path: the output file; a missing one has no outputs.
        declared: names that the step declares; empty: any name may be written.
        mask: what a line goes through before it is taken apart.
    """
    outputs: dict[str, str] = {}
    total = 0
    for number, raw in enumerate(_lines(path), start=1):
        line = mask(raw.decode("utf-8", errors="replace").rstrip("\r"))
        if not line.strip():
            continue
        name, separator, value = line.partition("=")
        if name == PROGRESS_NAME and separator:
            continue
        _check_line(number, name, separator, declared)
        total += _size(name, value) - (_size(name, outputs[name]) if name in outputs else 0)
        outputs[name] = value
        if total > MAX_OUTPUT_BYTES:
            raise BadOutput(
                f"line {number}: outputs exceed {MAX_OUTPUT_BYTES // 1024} KiB in total; "
                "write large results to a file in the workspace and output its path"
            )
    return outputs


def _size(name: str, value: str) -> int:
    return len(name) + len(value.encode())


def _check_line(number: int, name: str, separator: str, declared: tuple[str, ...]) -> None:
    if not separator or not _NAME.fullmatch(name):
        raise BadOutput(
            f"line {number} of $GAMEPIPE_OUTPUT is not KEY=value with a name of letters, digits "
            "and _ that starts with no digit"
        )
    if declared and name not in declared:
        raise BadOutput(
            f"line {number}: output {name} is not declared; declared are {', '.join(declared)}"
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of the file without their ends; bounded memory whatever a step wrote there."""
    descriptor = _open(path)
    if descriptor is None:
        return
    with os.fdopen(descriptor, "rb") as file:
        number = 0
        while line := file.readline(MAX_OUTPUT_BYTES + 2):
            number += 1
            if len(line) > MAX_OUTPUT_BYTES + 1:
                raise BadOutput(f"line {number} is longer than {MAX_OUTPUT_BYTES // 1024} KiB")
            yield line.removesuffix(b"\n")


def _open(path: Path) -> int | None:
    """Open what the step left there without following a link or waiting on a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadOutput(f"$GAMEPIPE_OUTPUT cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadOutput("$GAMEPIPE_OUTPUT is no regular file any more")
    return descriptor


class ProgressReader:
    """Reads what was appended since the last call: of progress only the newest counts."""

    def __init__(self, path: Path, declared: tuple[str, ...] = (), *, mask: Mask = str) -> None:
        """`declared`: as for `read_outputs`, which judges in the end what is passed over here."""
        self._path = path
        self._declared = declared
        self._outputs: dict[str, str] = {}
        self._left = MAX_OUTPUT_BYTES
        self._mask = mask
        self._offset = 0
        self._rest = b""

    def poll(self) -> ProgressMark | None:
        """The newest progress among the new lines; None when there is none."""
        newest = None
        for raw in self._new_lines():
            line = raw.decode("utf-8", errors="replace").rstrip("\r")
            name, separator, value = self._mask(line).partition("=")
            if name == PROGRESS_NAME:
                newest = parse_progress(value) or newest
            elif separator:
                self._take_output(name, value)
        return newest

    def take_outputs(self) -> dict[str, str]:
        """Those that were written since the last call, as far as they will be accepted."""
        taken, self._outputs = self._outputs, {}
        return taken

    def _take_output(self, name: str, value: str) -> None:
        size = _size(name, value)
        accepted = _NAME.fullmatch(name) and name in (self._declared or (name,))
        if accepted and size <= self._left:
            self._left -= size
            self._outputs[name] = value

    def _new_lines(self) -> list[bytes]:
        try:
            descriptor = _open(self._path)
        except BadOutput:
            return []  # Judged at the end of the attempt, with its line number.
        if descriptor is None:
            return []
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_size < self._offset:
                self._offset, self._rest = 0, b""
            file.seek(self._offset)
            data = file.read(_READ_BYTES)
        self._offset += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-MAX_OUTPUT_BYTES:]
        return lines
