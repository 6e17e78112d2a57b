"""The published protocol of placement quality: shuffle the tasks, add others drawn from the same
list until enough GPU demand has arrived, place each on arrival, and never remove one. A task that
fits nowhere is dropped, and counts as arrived."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gamepipe.model.node import GameNode
from gamepipe.model.record import Allocation
from gamepipe.scheduling.choose import Choice
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.simulation.policy import POLICIES
from gamepipe.simulation.task import Task

BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""Of virtual time."""
POINTS = 200
"""That a curve has at most."""
Tell = Callable[[int, int], None]
"""Hears how many of how many tasks have arrived."""


class NoGpu(ValueError):
    """Arrivals are counted in GPUs, and there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """At one moment, as shares of all GPUs of the cluster."""

    arrived: float
    allocated: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """One run."""

    seed: int
    tasks: int
    dropped: int
    allocated: float
    """Share of all GPUs at the end, 0..1."""
    curve: tuple[Point, ...]


def replay(
    nodes: Sequence[GameNode],
    tasks: Sequence[Task],
    *,
    policy: str,
    arrivals: float,
    seed: int,
    tell: Tell = lambda _, __: None,
) -> Replay:
    """Raises `NoGpu`."""
    total = sum(len(node.facts.gpus) for node in nodes) * MILLIONTHS
    order = arriving(tasks, arrivals * total, random.Random(seed))  # noqa: S311  # a dice
    fleet = Fleet(nodes)
    decider = POLICIES[policy](fleet, tasks, seed, None)
    arrived = allocated = dropped = 0
    curve, every = [Point(arrived=0.0, allocated=0.0)], max(len(order) // POINTS, 1)
    for number, task in enumerate(order, 1):
        decider.arrived(task.need)
        choice = decider.choose(task.need)
        arrived += task.gpu
        if choice is None:
            dropped += 1
        else:
            allocated += task.gpu
            fleet.hold(held(str(number), task, choice))
        if number % every == 0 or number == len(order):
            curve.append(Point(arrived=arrived / total, allocated=allocated / total))
            tell(number, len(order))
    share = allocated / total
    return Replay(seed=seed, tasks=len(order), dropped=dropped, allocated=share, curve=tuple(curve))


def arriving(tasks: Sequence[Task], demand: float, dice: random.Random) -> list[Task]:
    """All tasks in another order, then others drawn from them until so much demand (millionths of
    a GPU) has arrived. Raises `NoGpu`."""
    order = list(tasks)
    dice.shuffle(order)
    arrived = sum(task.gpu for task in order)
    if demand <= 0 or not arrived:
        raise NoGpu
    while arrived < demand:
        order.append(dice.choice(tasks))
        arrived += order[-1].gpu
    return order


def held(pipeline_id: str, task: Task, choice: Choice) -> Allocation:
    need = task.need
    return Allocation(
        pipeline_id=pipeline_id,
        generation=1,
        node_id=choice.node_id,
        resources=need.resources,
        gpu_devices=choice.gpu_devices,
        host_ports=need.host_ports,
        tenant=need.tenant,
        template=need.template,
        created_at=BEGIN,
    )
