"""Policies by name: the service's own, its parts, and others to compare with."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from gamepipe.scheduling.choose import NONE_CLOSED, Choice, Chooser, Closed
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import Latencies
from gamepipe.scheduling.mix import Mix
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Policy, Weights
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.standing import Standings
from gamepipe.simulation.gradient import Gradient, scores
from gamepipe.simulation.task import Task


class Decider(Protocol):
    """Chooses; whoever asks holds in the fleet what was chosen."""

    def arrived(self, need: Need) -> None:
        """A new request came."""

    def choose(self, need: Need) -> Choice | None:
        """None: it fits nowhere."""


class Scoring:
    """The service's own code, with the mix of work learned from what arrives."""

    def __init__(self, fleet: Fleet, policy: Policy, latencies: Latencies | None = None) -> None:
        self._plain = Snapshot(fleet=fleet, policy=policy)
        if latencies is not None:
            self._plain = replace(self._plain, latencies=latencies)
        self._mix = Mix()
        self._chooser = Chooser(self._plain)

    def arrived(self, need: Need) -> None:
        self._mix.learn(need.resources)
        if self._mix.profile is not self._chooser.snapshot.profile:
            self._chooser = Chooser(replace(self._plain, profile=self._mix.profile))

    def choose(self, need: Need) -> Choice | None:
        return self._chooser.find(need)


class Deciding(Chooser):
    """Serves a queue by a policy. Room is made, and kept, as the service would."""

    def __init__(self, fleet: Fleet, decider: Decider, latencies: Latencies | None = None) -> None:
        super().__init__(Snapshot(fleet=fleet, latencies=latencies or Latencies()))
        self._decider = decider

    def find(self, need: Need, closed: Closed = NONE_CLOSED) -> Choice | None:  # noqa: ARG002
        return self._decider.choose(need)


class Picking:
    """Keeps to the same rules, and picks among the nodes that fit."""

    def __init__(self, fleet: Fleet, pick: Callable[[Sequence[int]], int]) -> None:
        self._fleet = fleet
        bare = Policy(weights=Weights(fragmentation=0))
        self._standings = Standings(Snapshot(fleet=fleet, policy=bare))
        self._pick = pick

    def arrived(self, need: Need) -> None:
        """Learns nothing."""

    def choose(self, need: Need) -> Choice | None:
        rows = np.flatnonzero(self._standings.of(need)[0]).tolist()
        if not rows:
            return None
        row = self._pick(rows)
        devices = self._fleet.devices.pick(need.resources.gpu, row)
        return Choice(node_id=self._fleet.nodes[row].id, gpu_devices=devices)


class Descending:
    """Descends the gradient of the paper's measure. What it kept of a need is renewed for the rows
    that changed."""

    def __init__(self, fleet: Fleet, tasks: Sequence[Task]) -> None:
        self._fleet = fleet
        bare = Policy(weights=Weights(fragmentation=0))
        self._standings = Standings(Snapshot(fleet=fleet, policy=bare))
        self._gradient = Gradient(fleet, [task.need.resources for task in tasks])
        self._kept: dict[Need, tuple[int, np.ndarray, np.ndarray]] = {}

    def arrived(self, need: Need) -> None:
        """Its classes are known beforehand."""

    def choose(self, need: Need) -> Choice | None:
        open_ = self._standings.of(need)[0]
        if not open_.any():
            return None
        growth, slots = self._growth(need)
        row = int(np.where(open_, scores(growth), -1).argmax())
        return Choice(
            node_id=self._fleet.nodes[row].id, gpu_devices=self._devices(need, row, slots)
        )

    def _growth(self, need: Need) -> tuple[np.ndarray, np.ndarray]:
        count = len(self._fleet)
        known = (-1, np.zeros(count), np.zeros(count, dtype=np.int64))
        clock, growth, slots = self._kept.get(need, known)
        rows = self._fleet.changed_since(clock)
        if len(rows):
            growth[rows], slots[rows] = self._gradient.growth(need, rows)
        self._kept[need] = (self._fleet.clock, growth, slots)
        return growth, slots

    def _devices(self, need: Need, row: int, slots: np.ndarray) -> tuple[int, ...]:
        request, devices = need.resources.gpu, self._fleet.devices
        if request.count or request.is_empty:
            return devices.pick(request, row)
        return (devices.index_of(row, int(slots[row])),)


Make = Callable[[Fleet, Sequence[Task], int, Latencies | None], Decider]
"""From the fleet, the tasks that may come, a seed, and latencies."""


def _weighted(**weights: float) -> Make:
    policy = Policy(weights=replace(Weights(), **weights))

    def make(fleet: Fleet, _: Sequence[Task], __: int, latencies: Latencies | None) -> Decider:
        return Scoring(fleet, policy, latencies)

    return make


def _random(fleet: Fleet, _: Sequence[Task], seed: int, __: Latencies | None) -> Decider:
    return Picking(fleet, random.Random(seed).choice)  # noqa: S311  # a dice, no secret


def _first(fleet: Fleet, _: Sequence[Task], __: int, ___: Latencies | None) -> Decider:
    return Picking(fleet, min)


def _gradient(fleet: Fleet, tasks: Sequence[Task], _: int, __: Latencies | None) -> Decider:
    return Descending(fleet, tasks)


DEFAULT = "fragmentation"
POLICIES: dict[str, Make] = {
    DEFAULT: _weighted(),
    "packing": _weighted(fragmentation=0.0, packing=1.0),
    "best-fit": _weighted(fragmentation=0.0, packing=1.0),
    "spread": _weighted(fragmentation=0.0, packing=-1.0),
    "random": _random,
    "first-fit": _first,
    "fgd": _gradient,
}
