"""Requests that come, wait, run and end, over virtual time."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from gamepipe.model.node import GameNode
from gamepipe.scheduling.choose import Choice
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.order import Grant
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.simulation.fleet import MadeLatencies, Request
from gamepipe.simulation.policy import POLICIES, Deciding
from gamepipe.simulation.replay import BEGIN, POINTS, NoGpu, Point, Tell
from gamepipe.simulation.service import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """What became of a request; it `waited` so many seconds."""

    request: Request
    node_id: str
    waited: float
    latency_ms: float


@dataclass(kw_only=True, slots=True)
class Course:
    """One run."""

    seed: int
    placed: list[Placed] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    """At the end."""
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
        found: dict[str, list[float]] = {}
        for one in self.placed:
            found.setdefault(one.request.task.need.tenant, []).append(one.waited)
        return dict(sorted(found.items()))

    @property
    def unserved(self) -> dict[str, int]:
        """By tenant, of those that wait at the end."""
        return dict(Counter(one.task.need.tenant for one in self.waiting))

    @property
    def latencies(self) -> list[float]:
        """In milliseconds."""
        return [one.latency_ms for one in self.placed]


def run(
    nodes: Sequence[GameNode],
    requests: Iterable[Request],
    *,
    policy: str,
    seed: int,
    order: OrderPolicy | None = None,
    tell: Tell = lambda _, __: None,
) -> Course:
    """Until the last request has come. Raises `NoGpu`.

    Args:
        order: by which the queue is served.
    """
    coming = list(requests)
    course = _Timeline(nodes, coming, policy, order or OrderPolicy(), seed)
    every = max(len(coming) // POINTS, 1)
    for number, request in enumerate(coming, 1):
        course.come(request)
        if number % every == 0 or number == len(coming):
            course.mark()
            tell(number, len(coming))
    return course.ended()


class _Timeline:
    def __init__(
        self,
        nodes: Sequence[GameNode],
        requests: Sequence[Request],
        policy: str,
        order: OrderPolicy,
        seed: int,
    ) -> None:
        gpus = sum(len(node.facts.gpus) for node in nodes)
        if not gpus:
            raise NoGpu
        self._course = Course(seed=seed, gpus=gpus)
        self._fleet, self._latencies = Fleet(nodes), MadeLatencies(seed=seed)
        tasks = [request.task for request in requests]
        self._decider = POLICIES[policy](self._fleet, tasks, seed, self._latencies)
        self._service = Service(Deciding(self._fleet, self._decider), order)
        self._waiting: dict[str, Request] = {}
        """By id, the oldest first."""
        self._ends: list[tuple[float, str, int]] = []
        self._now, self._used, self._arrived = 0.0, 0, 0

    def come(self, request: Request) -> None:
        while self._ends and self._ends[0][0] <= request.at:
            self._end(*heapq.heappop(self._ends))
        self._pass_time(request.at)
        self._arrived += request.task.gpu
        self._decider.arrived(request.task.need)
        self._waiting[request.id] = request
        need, now = request.task.need, _time(self._now)
        self._start(self._service.come(request.id, need, now=now))

    def mark(self) -> None:
        """One point of the curve."""
        total = self._course.gpus * MILLIONTHS
        point = Point(arrived=self._arrived / total, allocated=self._used / total)
        self._course.curve.append(point)

    def ended(self) -> Course:
        self._course.seconds = self._now
        self._course.waiting = list(self._waiting.values())
        return self._course

    def _end(self, at: float, request_id: str, gpu: int) -> None:
        self._pass_time(at)
        self._used -= gpu
        self._service.end(request_id)
        if self._waiting:
            self._start(self._service.serve(now=_time(self._now)))

    def _start(self, granted: Sequence[Grant]) -> None:
        for grant in granted:
            request = self._waiting.pop(grant.waiting.pipeline_id)
            self._used += request.task.gpu
            heapq.heappush(self._ends, (self._now + request.seconds, request.id, request.task.gpu))
            self._course.placed.append(self._placed(request, grant.choice))

    def _placed(self, request: Request, choice: Choice) -> Placed:
        region = request.task.need.placement.player_region
        latency = self._latencies.toward(region, self._fleet)
        return Placed(
            request=request,
            node_id=choice.node_id,
            waited=self._now - request.at,
            latency_ms=float(latency.ms[self._fleet.row_of[choice.node_id]]),
        )

    def _pass_time(self, now: float) -> None:
        self._course.gpu_seconds += self._used / MILLIONTHS * (now - self._now)
        self._now = now


def _time(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def quantile(values: Sequence[float], part: float) -> float:
    """0 where there are none."""
    return float(np.quantile(values, part)) if values else 0.0
