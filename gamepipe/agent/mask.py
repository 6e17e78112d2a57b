"""Keeps values of envs and secrets out of everything that leaves the node.

A value of at least `MIN_LENGTH` characters is replaced by `***` wherever it occurs literally;
shorter ones ("1", "on") would mangle every line and hide nothing. Of a value with several lines
each line counts by itself, since output arrives line by line.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gamepipe.agent.runtime import LineSink
from gamepipe.model.record import LogStream

MIN_LENGTH = 4
MASK = "***"
TAIL_LINES = 10
TAIL_CHARACTERS = 2000
"""Of each of the last lines; a message that quotes them is cut to no more."""


def not_masked(named: Mapping[str, str]) -> list[str]:
    """Names of the values that are too short to be masked."""
    return sorted(name for name, value in named.items() if 0 < len(value.strip()) < MIN_LENGTH)


class Masker:
    """Replaces every occurrence of the given values; overlapping ones become one mask."""

    def __init__(self, values: Iterable[str]) -> None:
        parts = {
            part
            for value in values
            for part in (value, value.strip(), *(line.strip() for line in value.splitlines()))
            if len(part) >= MIN_LENGTH
        }
        self._values = sorted(parts, key=len, reverse=True)

    @property
    def is_empty(self) -> bool:
        return not self._values

    def mask(self, text: str, *, is_cut: bool = False) -> str:
        """The text without the values.

        Args:
            text: masked before it is shortened, or a part of a value could stay.
            is_cut: somebody else shortened it at its end: what may be the beginning of a value
                there goes too.
        """
        spans = self.spans(text)
        begun = self._begun(text) if is_cut else 0
        if begun:
            spans = _merge(sorted([*spans, (len(text) - begun, len(text))]))
        return _replace(text, spans) if spans else text

    def _begun(self, text: str) -> int:
        """How many characters at the end may be the beginning of a value."""
        longest = 0
        for value in self._values:
            for length in range(min(len(value) - 1, len(text)), longest, -1):
                if text.endswith(value[:length]):
                    longest = length
                    break
        return longest

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Merged (start, end) of every occurrence, in order."""
        found = [span for value in self._values for span in _occurrences(text, value)]
        return _merge(sorted(found)) if found else []


def _occurrences(text: str, value: str) -> Iterable[tuple[int, int]]:
    start = text.find(value)
    while start >= 0:
        yield start, start + len(value)
        start = text.find(value, start + 1)


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = [spans[0]]
    for start, end in spans[1:]:
        last_start, last_end = merged[-1]
        if start < last_end:
            merged[-1] = (last_start, max(last_end, end))
        else:
            merged.append((start, end))
    return merged


def _replace(text: str, spans: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], MASK)
        at = end
    parts.append(text[at:])
    return "".join(parts)


@dataclass(slots=True)
class _Tail:
    """The last lines of one stream, masked, each with its pieces put together."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    is_open: bool = False

    def add(self, text: str, *, continued: bool) -> None:
        if self.is_open:
            text = self.lines.pop() + text
        self.lines.append(text[-TAIL_CHARACTERS:])
        self.is_open = continued


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A piece of a split line that waits for the next one: a value may lie across the cut."""

    text: str
    at: datetime
    position: str


class MaskingSink:
    """A `LineSink` that masks on the way to another one, also across the cut of a split line.

    The piece before a cut is held back until the next one came; its position is not spooled
    before, so an agent that dies in between reads it again. Pieces before the last one are long
    (tens of KiB), so a value lies across one cut only.
    """

    def __init__(self, sink: LineSink, masker: Masker) -> None:
        self._sink = sink
        self._masker = masker
        self._held: dict[LogStream, _Held] = {}
        self._tails = {LogStream.STDOUT: _Tail(), LogStream.STDERR: _Tail()}

    @property
    def tail(self) -> list[str]:
        """The last lines of stdout, then those of stderr; as they were passed on, masked."""
        return [line for tail in self._tails.values() for line in tail.lines]

    def resume_position(self) -> str:
        return self._sink.resume_position()

    async def write(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str = "",
        continued: bool = False,
    ) -> None:
        if self._masker.is_empty:
            await self._pass_on(stream, text, at=at, position=position, continued=continued)
            return
        text = await self._release(stream, text)
        if continued:
            self._held[stream] = _Held(text=text, at=at, position=position)
        else:
            await self._pass_on(stream, self._masker.mask(text), at=at, position=position)

    async def flush(self) -> None:
        """Write what is still held back (the output ended in the middle of a split line)."""
        for stream, held in self._held.items():
            await self._pass_on(
                stream, self._masker.mask(held.text), at=held.at, position=held.position
            )
        self._held.clear()

    async def _release(self, stream: LogStream, text: str) -> str:
        """Write the held piece; the rest of a value that began in it is cut from `text`."""
        held = self._held.pop(stream, None)
        if held is None:
            return text
        cut = len(held.text)
        whole = held.text + text
        crossing = next((s for s in self._masker.spans(whole) if s[0] < cut < s[1]), None)
        first = held.text if crossing is None else held.text[: crossing[0]]
        masked = self._masker.mask(first) + ("" if crossing is None else MASK)
        await self._pass_on(stream, masked, at=held.at, position=held.position, continued=True)
        return text if crossing is None else whole[crossing[1] :]

    async def _pass_on(
        self,
        stream: LogStream,
        text: str,
        *,
        at: datetime,
        position: str,
        continued: bool = False,
    ) -> None:
        if stream in self._tails:
            self._tails[stream].add(text, continued=continued)
        await self._sink.write(stream, text, at=at, position=position, continued=continued)
