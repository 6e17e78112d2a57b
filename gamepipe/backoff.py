"""How long to wait between tries, so that many who lost one server do not come back at once."""

import random
from collections.abc import Iterator


def backoff(*, first: float = 0.2, longest: float = 10.0) -> Iterator[float]:
    """Seconds to wait before each try: exponential, with full jitter."""
    limit = first
    while True:
        yield random.uniform(0.0, limit)  # noqa: S311 - spreads callers, guards nothing
        limit = min(limit * 2, longest)
