"""How much the machine receives and sends, as rates between two looks."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import psutil

_INSIDE = re.compile(r"lo\d*|(?:veth|docker|br-|virbr|cni|flannel|cali|tap).*")
"""Interfaces between containers and their machine: their traffic passes a real one too, or none."""


class Counters(Protocol):
    """Bytes of one interface since it came up."""

    @property
    def bytes_recv(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...


def _counters() -> Mapping[str, Counters]:
    counters: Mapping[str, Counters] = psutil.net_io_counters(pernic=True)
    return counters


class NetworkMeter:
    """Rates since the last look; the first is since it was made. Raises OSError."""

    def __init__(
        self,
        counters: Callable[[], Mapping[str, Counters]] = _counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._at, self._before = clock(), counters()

    def sample(self) -> tuple[float, float]:
        """(received, sent) in bytes a second, over all interfaces that lead out of the machine."""
        before, began = self._before, self._at
        self._at, self._before = self._clock(), self._counters()
        seconds = self._at - began
        if seconds <= 0:
            return 0.0, 0.0
        seen = [
            (now.bytes_recv - before[name].bytes_recv, now.bytes_sent - before[name].bytes_sent)
            for name, now in self._before.items()
            if name in before and not _INSIDE.fullmatch(name)
        ]
        received = sum(max(got, 0) for got, _ in seen)
        return received / seconds, sum(max(sent, 0) for _, sent in seen) / seconds
