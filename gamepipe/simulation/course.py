"""What became of the requests of one run."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.simulation.fleet import Request
from gamepipe.simulation.replay import Point


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where a request came to run in the end; until then it `waited` so many seconds, those after a
    preemption included."""

    request: Request
    node_id: str
    waited: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stay:
    """Of a request on a node; times are seconds of virtual time."""

    request: Request
    node_id: str
    gpu_devices: tuple[int, ...]
    since: float
    until: float | None = None
    """None: it runs at the end."""
    preempted_for: str = ""
    """Id of the request for which it left before it was done; what it had done is lost."""

    @property
    def lost(self) -> float:
        """GPU seconds."""
        if not self.preempted_for or self.until is None:
            return 0.0
        return self.request.task.gpu / MILLIONTHS * (self.until - self.since)


Group = Callable[[Request], str]


def tenant_of(request: Request) -> str:
    return request.task.need.tenant


def rank_of(request: Request) -> str:
    return request.rank


@dataclass(kw_only=True, slots=True)
class Course:
    """One run."""

    seed: int
    placed: list[Placed] = field(default_factory=list)
    """In the order in which they were placed at last."""
    waiting: list[Request] = field(default_factory=list)
    """At the end."""
    stays: list[Stay] = field(default_factory=list)
    """In the order in which they began."""
    seconds: float = 0.0
    """Of virtual time, until the last arrival."""
    gpu_seconds: float = 0.0
    """That were allocated until then."""
    gpus: int = 0
    curve: list[Point] = field(default_factory=list)

    @property
    def allocated(self) -> float:
        """Mean share of the GPUs over time, 0..1."""
        return self.gpu_seconds / max(self.seconds * self.gpus, 1e-9)

    @property
    def waits(self) -> dict[str, list[float]]:
        """By tenant, of what was placed, in seconds."""
        return self.waits_by(tenant_of)

    def waits_by(self, group: Group) -> dict[str, list[float]]:
        """Of what was placed, in seconds."""
        found: dict[str, list[float]] = {}
        for one in self.placed:
            found.setdefault(group(one.request), []).append(one.waited)
        return dict(sorted(found.items()))

    @property
    def unserved(self) -> dict[str, int]:
        """By tenant, of those that wait at the end."""
        return self.unserved_by(tenant_of)

    def unserved_by(self, group: Group) -> dict[str, int]:
        """Of those that wait at the end."""
        return dict(Counter(map(group, self.waiting)))

    @property
    def latencies(self) -> list[float]:
        """In milliseconds."""
        return [one.latency_ms for one in self.placed]

    @property
    def preempted(self) -> list[Stay]:
        """Stays that were cut short, in the order in which they were."""
        return sorted((one for one in self.stays if one.preempted_for), key=_left)

    @property
    def lost(self) -> float:
        """GPU seconds of work that was done for nothing."""
        return sum(one.lost for one in self.preempted)


def _left(stay: Stay) -> tuple[float, str]:
    return stay.until or 0.0, stay.request.id


def count_by(group: Group, stays: Iterable[Stay]) -> dict[str, int]:
    return dict(Counter(group(one.request) for one in stays))


def waits_of(runs: Iterable[Course], group: Group) -> dict[str, list[float]]:
    """Of what was placed in all of these runs, in seconds."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, waits in run.waits_by(group).items():
            found.setdefault(name, []).extend(waits)
    return found


def unserved_of(runs: Iterable[Course], group: Group) -> dict[str, int]:
    """Of those that wait at the end of these runs."""
    return dict(Counter(group(one) for run in runs for one in run.waiting))


def quantile(values: Sequence[float], part: float) -> float:
    """0 where there are none."""
    return float(np.quantile(values, part)) if values else 0.0
