"""Input, output and progress of the workflow `DrainNode`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DrainState(StrEnum):
    DRAINING = "draining"
    """Nothing new comes; what runs may end by itself until the deadline."""
    STOPPING = "stopping"
    """The deadline has passed: what still runs is being stopped."""
    DRAINED = "drained"
    CALLED_OFF = "called_off"
    """Somebody set the node back to normal."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """Input of `DrainNode`, id `drain-<node id>`; a newer one replaces an older one."""

    node_id: str
    deadline: datetime | None = None
    """When what still runs is stopped; None: never."""
    ignore_instances: bool = False
    """Games that outlive their pipeline neither count nor are stopped."""


@dataclass(frozen=True, kw_only=True)
class DrainWatch:
    """Input of `watch_drain`, which returns when the node is empty, back to normal, or then."""

    drain: Drain
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DrainLook:
    """What is left on the node."""

    pipelines: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    """Those that count."""
    called_off: bool = False

    @property
    def is_over(self) -> bool:
        return self.called_off or not (self.pipelines or self.instances)


@dataclass(frozen=True, kw_only=True)
class DrainProgress:
    """Answer of the query `progress`, and output of the workflow."""

    drain: Drain
    state: DrainState
    started_at: datetime


def drain_id(node_id: str) -> str:
    """Id of the workflow."""
    return f"drain-{node_id}"
