"""Where reading a container's log has come to, exactly, in a short text.

The engine can only be asked for entries "since" a time. Times are no positions: stdout and stderr
are stamped before they are written, so neighbours may be out of order, and the pieces of a long
line all bear the time of its first one. So a position is a time some seconds back, plus how many
entries of each stream with that time or a later one were written on already.

::

    <since ns>:<stdout entries>:<stderr entries>:<all stdout>:<all stderr>:<rest>:<rest>

`rest` is the beginning of a character that the last piece of a split line was cut in (hex).
"""

from copy import deepcopy
from dataclasses import dataclass, field

MARGIN_NS = 5_000_000_000
"""Further than the times of neighbours are ever out of order."""
STREAMS = 2


@dataclass
class _Base:
    """A time, and how many entries of each stream from it on are behind us."""

    since: int
    counts: list[int] = field(default_factory=lambda: [0] * STREAMS)


@dataclass
class LogPosition:
    """Moves forward entry by entry; `streams` are 0 (stdout) and 1 (stderr)."""

    _base: _Base = field(default_factory=lambda: _Base(0))
    _totals: list[int] = field(default_factory=lambda: [0] * STREAMS)
    _next: _Base | None = None
    _newest: int = 0
    rests: list[bytes] = field(default_factory=lambda: [b""] * STREAMS)

    @property
    def since(self) -> int:
        """Ask for entries from this time on (nanoseconds since the epoch; 0: all)."""
        return self._base.since

    @property
    def newest(self) -> int:
        """The newest time of any entry so far."""
        return self._newest

    @property
    def skips(self) -> list[int]:
        """How many of those entries to skip, by stream."""
        return list(self._base.counts)

    def advance(self, stream: int, times: list[int], *, oldest_pending: int | None) -> None:
        """Entries of a stream were written on.

        Args:
            stream: 0 or 1.
            times: of the entries, in their order.
            oldest_pending: the time of the first entry, of any stream, that was read but not
                written on yet; the position never moves past it.
        """
        for time in times:
            self._count(stream, time)
        if self._next is None:
            self._next = _Base(self._newest + 1)
        elif self._newest - self._next.since >= MARGIN_NS and (
            oldest_pending is None or oldest_pending >= self._next.since
        ):
            self._base, self._next = self._next, _Base(self._newest + 1)

    def see(self, time: int) -> None:
        """An entry has this time; those that are skipped must be shown as well."""
        self._newest = max(self._newest, time)

    def _count(self, stream: int, time: int) -> None:
        self._totals[stream] += 1
        self.see(time)
        if time < self._base.since:
            # The clock was set back: count from the beginning until it is past the newest time.
            self._base, self._next = _Base(0, list(self._totals)), None
            return
        self._base.counts[stream] += 1
        if self._next is not None and time >= self._next.since:
            self._next.counts[stream] += 1

    def copy(self) -> "LogPosition":
        return deepcopy(self)

    def encode(self) -> str:
        numbers = (self._base.since, *self._base.counts, *self._totals)
        return ":".join((*map(str, numbers), *(rest.hex() for rest in self.rests)))

    @classmethod
    def decode(cls, text: str) -> "LogPosition":
        """The position that `encode` wrote; the beginning for ""."""
        if not text:
            return cls()
        since, out, err, all_out, all_err, rest_out, rest_err = text.split(":")
        return cls(
            _base=_Base(int(since), [int(out), int(err)]),
            _totals=[int(all_out), int(all_err)],
            rests=[bytes.fromhex(rest_out), bytes.fromhex(rest_err)],
            _newest=int(since),
        )
