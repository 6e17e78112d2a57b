"""Processes that stand still: they hold their connections, and say nothing."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen(pid: int, *, seconds: float = 0.0) -> Iterator[None]:
    """A process that does not run while the block does, and for at least so long."""
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        yield
        time.sleep(max(0.0, begun + seconds - time.monotonic()))  # the outage itself
    finally:
        os.kill(pid, signal.SIGCONT)
