"""How much a spool holds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolLimits:
    """`unacknowledged_bytes` of one attempt: above it, its step waits."""

    unacknowledged_bytes: int = 64 * 1024 * 1024
    segment_bytes: int = 1024 * 1024
