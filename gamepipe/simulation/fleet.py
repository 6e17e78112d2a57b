"""A made-up fleet of game nodes, and the work that players bring to it, from a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gamepipe.model.node import GameNode, GpuFacts, Location, NodeFacts
from gamepipe.model.spec import GpuRequest, Match, PlacementRequest, Resources
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import Latencies, Latency, certain
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.need import Need
from gamepipe.simulation.city import CITIES, CITY_OF, round_trip_ms
from gamepipe.simulation.rank import PREEMPTIBLE, PRIORITY, Ranks, class_of, made_labels
from gamepipe.simulation.task import Task, task_of

GIB = 1 << 30
ACCESS_MS = (2.0, 12.0)
NOISE = 0.15
LEAST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of node."""

    gpu: str
    devices: int
    vram_gib: int
    encoders: int
    cpu: int
    memory_gib: int
    frequency: float


@dataclass(frozen=True, slots=True)
class Game:
    """A kind of request."""

    name: str
    resources: Resources
    frequency: float
    minutes: float
    """Median; durations are log-normal."""
    host_ports: tuple[str, ...] = ()
    match: tuple[Match, ...] = ()


MACHINES = (
    Machine("NVIDIA L4", 4, 24, 12, 64, 256, 4.0),
    Machine("NVIDIA T4", 2, 16, 8, 32, 128, 3.0),
    Machine("NVIDIA A10", 8, 24, 12, 128, 512, 2.0),
    Machine("NVIDIA A100", 8, 80, 0, 128, 1024, 1.0),
)


def _shared(share: float, vram_gib: int, cpu: float, memory_gib: int) -> Resources:
    gpu = GpuRequest(share=share, vram_bytes=vram_gib * GIB, encoders=1)
    return Resources(cpu=cpu, memory_bytes=memory_gib * GIB, gpu=gpu)


def _whole(count: int, cpu: float, memory_gib: int) -> Resources:
    return Resources(cpu=cpu, memory_bytes=memory_gib * GIB, gpu=GpuRequest(count=count))


_GOLD = (Match(key="tier", op="in", values=("gold",)),)
GAMES = (
    Game("chess", _shared(0.1, 2, 1.0, 4), 6.0, 30),
    Game("kart", _shared(0.25, 5, 4.0, 12), 5.0, 45),
    Game("quest", _shared(0.5, 10, 6.0, 24), 4.0, 90),
    Game("arena", _shared(0.75, 14, 8.0, 24), 2.0, 40, host_ports=("udp/7777",)),
    Game("world", _whole(1, 8.0, 48), 2.0, 120, match=_GOLD),
    Game("training", _whole(4, 32.0, 128), 0.3, 180),
    Game("build", Resources(cpu=8.0, memory_bytes=16 * GIB), 1.0, 10),
)
TENANTS = (("small", 1.0), ("middle", 2.0), ("large", 4.0))
"""With how often they ask."""


def made_nodes(count: int, seed: int) -> list[GameNode]:
    dice = random.Random(f"nodes {seed}")  # noqa: S311  # a dice
    machines = dice.choices(MACHINES, [one.frequency for one in MACHINES], k=count)
    return [_node(f"node-{place:05d}", machine, dice) for place, machine in enumerate(machines)]


def _node(node_id: str, machine: Machine, dice: random.Random) -> GameNode:
    city = dice.choice(CITIES)
    card = GpuFacts(
        index=0,
        model=machine.gpu,
        memory_bytes=machine.vram_gib * GIB,
        encoders=machine.encoders,
    )
    gpus = tuple(
        GpuFacts(
            index=index,
            model=card.model,
            memory_bytes=card.memory_bytes,
            encoders=card.encoders,
        )
        for index in range(machine.devices)
    )
    facts = NodeFacts(
        cpu=machine.cpu,
        memory_bytes=machine.memory_gib * GIB,
        disk_bytes=1 << 42,
        gpus=gpus,
        features=("command", "container"),
    )
    place = Location(region=city.name, latitude=city.latitude, longitude=city.longitude)
    tier = dice.choices(("gold", "silver"), (2, 1))[0]
    return GameNode(id=node_id, facts=facts, location=place, labels={"tier": tier})


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Comes at a time, and runs for a while once it is placed; in seconds."""

    id: str
    task: Task
    at: float
    seconds: float
    priority: int = 0
    labels: tuple[Label, ...] = ()

    @property
    def rank(self) -> str:
        """Its class."""
        return class_of(self.priority, preemptible=self.task.need.placement.preemptible)


def made_requests(
    nodes: Sequence[GameNode], count: int, load: float, seed: int, ranks: Ranks | None = None
) -> Iterator[Request]:
    """So many that in the long run `load` times the GPUs of the nodes would be in use.

    Args:
        ranks: how many are of which class; what comes and when is the same whatever these are.
            None: all are ordinary.
    """
    dice = random.Random(f"requests {seed}")  # noqa: S311  # a dice
    besides = random.Random(f"ranks {seed}")  # noqa: S311  # another one
    ranks = ranks or Ranks()
    gpus = sum(len(node.facts.gpus) for node in nodes)
    per_second, now = load * gpus / _gpu_seconds(), 0.0
    for number in range(count):
        now += dice.expovariate(per_second)
        game = dice.choices(GAMES, [one.frequency for one in GAMES])[0]
        seconds = max(dice.lognormvariate(np.log(game.minutes * 60), 0.5), LEAST_SECONDS)
        rank = ranks.pick(besides)
        yield Request(
            id=f"r{number:06d}",
            task=task_of(_need(game, dice, preemptible=rank == PREEMPTIBLE)),
            at=now,
            seconds=seconds,
            priority=PRIORITY[rank],
            labels=made_labels(besides),
        )


def _gpu_seconds() -> float:
    """What a request takes on average."""
    per_game = [
        one.frequency * one.minutes * 60 * np.exp(0.5**2 / 2) * (gpu.count or gpu.share)
        for one in GAMES
        if (gpu := one.resources.gpu)
    ]
    return float(sum(per_game) / sum(one.frequency for one in GAMES))


def _need(game: Game, dice: random.Random, *, preemptible: bool) -> Need:
    players = dice.choices(CITIES, [one.players for one in CITIES])[0]
    tenant = dice.choices([one for one, _ in TENANTS], [often for _, often in TENANTS])[0]
    return Need(
        resources=game.resources,
        placement=PlacementRequest(
            player_region=players.name, match=game.match, preemptible=preemptible
        ),
        features=frozenset(("container",)),
        host_ports=game.host_ports,
        tenant=tenant,
        template=game.name,
    )


@dataclass(frozen=True, kw_only=True)
class MadeLatencies(Latencies):
    """Between made-up players and nodes, all of it measured."""

    seed: int = 0
    _made: dict[str, Latency] = field(default_factory=dict)

    def toward(self, region: str, fleet: Fleet) -> Latency:
        if region not in self._made:
            self._made[region] = certain(np.array([self.ms(region, node) for node in fleet.nodes]))
        return self._made[region]

    def ms(self, region: str, node: GameNode) -> float:
        dice = random.Random(f"way {self.seed} {region} {node.id}")  # noqa: S311  # a dice
        there = CITY_OF[node.location.region]
        straight = round_trip_ms(CITY_OF[region], there, dice.uniform(*ACCESS_MS))
        return straight * dice.uniform(1, 1 + NOISE)
