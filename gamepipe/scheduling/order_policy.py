"""What an operator sets of the queue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from gamepipe.scheduling.limit import EVERY, Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPolicy:
    """By what the queue is served."""

    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    """A tenant with twice the weight gets twice the share; `*` is that of all others, else 1."""
    reserve_after: timedelta = timedelta(minutes=5)
    """Wait behind which one that fits nowhere reserves room on a node."""
    reservations: int = 2
    """Pipelines that may reserve at a time; 0: none ever."""
    preemption: bool = True
    """A pipeline that fits nowhere may take the place of preemptible ones of a lower class."""
    limits: Limits = field(default_factory=Limits)
    longest_queue: int | None = None
    """Pipelines of one tenant that may wait; None: any number."""

    def queue_full(self, tenant: str) -> str:
        """What to say to one that is more than may wait."""
        return (
            f"{self.longest_queue} pipelines of tenant {tenant!r} wait already, and no more may: "
            "submit it again when some of them have been placed, or raise GAMEPIPE_LONGEST_QUEUE"
        )

    def weight(self, tenant: str) -> float:
        return self.tenant_weights.get(tenant, self.tenant_weights.get(EVERY, 1.0))
