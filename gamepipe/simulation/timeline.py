"""Requests that come, wait, run and end, or make room for others, over virtual time."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gamepipe.model.node import GameNode
from gamepipe.scheduling.choose import Choice
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.order import Grant
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.simulation.course import Course, Placed, Stay
from gamepipe.simulation.fleet import MadeLatencies, Request
from gamepipe.simulation.policy import POLICIES, Deciding
from gamepipe.simulation.replay import BEGIN, POINTS, NoGpu, Point, Tell
from gamepipe.simulation.service import Service

GRACE = timedelta(seconds=10)
"""In which one that makes room stops."""


def run(
    nodes: Sequence[GameNode],
    requests: Iterable[Request],
    *,
    policy: str,
    seed: int,
    order: OrderPolicy | None = None,
    grace: timedelta = GRACE,
    tell: Tell = lambda _, __: None,
) -> Course:
    """Until the last request has come. Raises `NoGpu`.

    Args:
        order: by which the queue is served.
        grace: in which one that makes room stops; all of it is used.
    """
    coming = list(requests)
    course = _Timeline(nodes, coming, policy, order or OrderPolicy(), grace=grace, seed=seed)
    every = max(len(coming) // POINTS, 1)
    for number, request in enumerate(coming, 1):
        course.come(request)
        if number % every == 0 or number == len(coming):
            course.mark()
            tell(number, len(coming))
    return course.ended()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting:
    request: Request
    since: float
    before: float = 0.0
    """Seconds that it had waited at other times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    generation: int
    ends: float
    """If it is let."""
    stay: int
    """Its number."""
    waited: float


class _Timeline:
    def __init__(
        self,
        nodes: Sequence[GameNode],
        requests: Sequence[Request],
        policy: str,
        order: OrderPolicy,
        *,
        grace: timedelta,
        seed: int,
    ) -> None:
        gpus = sum(len(node.facts.gpus) for node in nodes)
        if not gpus:
            raise NoGpu
        self._course = Course(seed=seed, gpus=gpus)
        self._fleet, self._latencies = Fleet(nodes), MadeLatencies(seed=seed)
        tasks = [request.task for request in requests]
        self._decider = POLICIES[policy](self._fleet, tasks, seed, self._latencies)
        self._service = Service(Deciding(self._fleet, self._decider, self._latencies), order)
        self._grace = grace.total_seconds()
        self._waiting: dict[str, _Waiting] = {}
        self._running: dict[str, _Running] = {}
        self._placed: dict[str, Placed] = {}
        self._leaving: dict[str, str] = {}
        """Those that stop, and for whom."""
        self._ends: list[tuple[float, str, int]] = []
        """When, who, and in which generation."""
        self._now, self._used, self._arrived = 0.0, 0, 0

    def come(self, request: Request) -> None:
        while self._ends and self._ends[0][0] <= request.at:
            self._end(*heapq.heappop(self._ends))
        self._pass_time(request.at)
        self._arrived += request.task.gpu
        self._decider.arrived(request.task.need)
        self._waiting[request.id] = _Waiting(request=request, since=self._now)
        granted = self._service.come(
            request.id,
            request.task.need,
            now=_time(self._now),
            priority=request.priority,
            labels=request.labels,
        )
        self._start(granted)

    def mark(self) -> None:
        """One point of the curve."""
        total = self._course.gpus * MILLIONTHS
        point = Point(arrived=self._arrived / total, allocated=self._used / total)
        self._course.curve.append(point)

    def ended(self) -> Course:
        waiting = [one.request for one in self._waiting.values()]
        self._course.seconds = self._now
        self._course.waiting = sorted(waiting, key=lambda one: (one.at, one.id))
        self._course.placed = list(self._placed.values())
        return self._course

    def _end(self, at: float, request_id: str, generation: int) -> None:
        """It is done, or its grace is over."""
        running = self._running.get(request_id)
        if running is None or running.generation != generation:
            return  # it ended within its grace, or left before it was done
        self._pass_time(at)
        for_ = self._leaving.get(request_id, "")
        request = self._leave(request_id, for_ if at < running.ends else "")
        if at < running.ends:
            self._wait_again(request, running)
            self._start(self._service.vacate(request_id, now=_time(at)))
            return
        self._service.end(request_id)
        if self._waiting:
            self._start(self._service.serve(now=_time(at)))

    def _leave(self, request_id: str, preempted_for: str) -> Request:
        running = self._running.pop(request_id)
        self._leaving.pop(request_id, None)
        stay = self._course.stays[running.stay]
        left = replace(stay, until=self._now, preempted_for=preempted_for)
        self._course.stays[running.stay] = left
        self._used -= stay.request.task.gpu
        return stay.request

    def _wait_again(self, request: Request, running: _Running) -> None:
        del self._placed[request.id]
        again = _Waiting(request=request, since=self._now, before=running.waited)
        self._waiting[request.id] = again

    def _start(self, granted: Sequence[Grant]) -> None:
        for grant in granted:
            self._run(grant, self._waiting.pop(grant.waiting.pipeline_id))
        for preemption in self._service.hear():
            for request_id, generation in preemption.victims:
                self._leaving[request_id] = preemption.pipeline_id
                heapq.heappush(self._ends, (self._now + self._grace, request_id, generation))

    def _run(self, grant: Grant, was: _Waiting) -> None:
        request, ends = was.request, self._now + was.request.seconds
        waited = was.before + self._now - was.since
        generation, choice = grant.waiting.generation, grant.choice
        self._used += request.task.gpu
        heapq.heappush(self._ends, (ends, request.id, generation))
        self._running[request.id] = _Running(
            generation=generation, ends=ends, stay=len(self._course.stays), waited=waited
        )
        self._placed[request.id] = self._placed_at(request, choice, waited)
        stay = Stay(
            request=request,
            node_id=choice.node_id,
            gpu_devices=choice.gpu_devices,
            since=self._now,
        )
        self._course.stays.append(stay)

    def _placed_at(self, request: Request, choice: Choice, waited: float) -> Placed:
        region = request.task.need.placement.player_region
        latency = self._latencies.toward(region, self._fleet)
        return Placed(
            request=request,
            node_id=choice.node_id,
            waited=waited,
            latency_ms=float(latency.ms[self._fleet.row_of[choice.node_id]]),
        )

    def _pass_time(self, now: float) -> None:
        self._course.gpu_seconds += self._used / MILLIONTHS * (now - self._now)
        self._now = now


def _time(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)
