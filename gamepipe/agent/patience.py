"""How long an agent waits before it tries again to reach a gateway."""

import math
from collections.abc import Iterator

from gamepipe.backoff import backoff

LONGEST_SECONDS = 30.0
WAITS_PER_TTL = 4
"""However long an outage lasts, several tries fall into the silence after which a node may be
lost once a gateway is back. The TTL grows with the fleet, and so does the time over which it comes
back."""
FIRST_WAITS_PER_TTL = 30
SHORTEST_SECONDS = 0.1
"""Of the longest first wait."""


def patience(ttl_seconds: float) -> Iterator[float]:
    """Seconds before each try: a quick first one, then longer ones, with full jitter, so that a
    fleet that lost its gateway does not come back as a herd. TTL 0: no gateway has said it."""
    return backoff(
        first=max(SHORTEST_SECONDS, ttl_seconds / FIRST_WAITS_PER_TTL),
        longest=min(LONGEST_SECONDS, (ttl_seconds or math.inf) / WAITS_PER_TTL),
    )
