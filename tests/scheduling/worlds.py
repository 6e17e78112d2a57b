"""Fleets, needs and what happens to them, for property tests: small, and full of edges."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st

from gamepipe.model.node import GameNode, GpuFacts, GpuUse, Location, NodeFacts, NodeMetrics
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Match, PlacementRequest, Resources, Wish
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling.choose import Choice, Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.latency import Latencies, Latency, certain
from gamepipe.scheduling.mix import Mix
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Capacity, Policy
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling.reference import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1 << 30
MODELS = ("NVIDIA L4", "NVIDIA T4", "Tesla V100")
regions = st.sampled_from(("", "eu", "us"))
ports = st.lists(st.sampled_from(("tcp/80", "tcp/8080", "udp/80")), max_size=2, unique=True)
rarely = st.sampled_from((0,) * 15 + (1,))


gpu = st.builds(
    GpuFacts,
    index=st.just(0),
    model=st.sampled_from(MODELS),
    memory_bytes=st.sampled_from((0, 20, 16 * GIB, 24 * GIB)),
    encoders=st.sampled_from((0, 3, 8)),
)


@st.composite
def gpus(draw: st.DrawFn) -> tuple[GpuFacts, ...]:
    """Their numbers begin anywhere."""
    first, found = (
        draw(st.sampled_from((0, 3))),
        draw(st.lists(gpu, min_size=2, max_size=4) | st.lists(gpu, max_size=1)),
    )
    return tuple(replace(one, index=first + place) for place, one in enumerate(found))


large = st.sampled_from((64 * GIB, 64 * GIB, 64 * GIB, 4 * GIB, 20, 1))
facts = st.builds(
    NodeFacts,
    cpu=st.sampled_from((16.0, 16.0, 4.0, 1.001, 0.0)),
    memory_bytes=large,
    disk_bytes=large,
    gpus=gpus(),
    os=st.sampled_from(("", "linux")),
    features=st.sampled_from((("command", "container"),) * 6 + (("command",), ())),
    images=st.lists(st.sampled_from(("game", "base")), unique=True).map(tuple),
)
metrics = st.builds(
    NodeMetrics,
    cpu_share=st.sampled_from((0.0, 0.3, 0.9)),
    gpus=st.lists(st.builds(GpuUse, index=st.just(0), share=st.just(0.5)), max_size=1).map(tuple),
)
labels = st.dictionaries(
    st.sampled_from(("tier", "rank", "zone")),
    st.sampled_from(("gold", "1", "2.5", "x")),
    max_size=2,
)
node = st.builds(
    GameNode,
    id=st.just(""),
    facts=facts,
    labels=labels,
    location=st.builds(Location, region=regions, zone=st.sampled_from(("", "a", "b"))),
    state=rarely.map(lambda odd: NodeState.MAINTENANCE if odd else NodeState.NORMAL),
    connectivity=rarely.map(lambda odd: Connectivity.LOST if odd else Connectivity.ONLINE),
    stop_orders=rarely,
    unaccounted=rarely,
    metrics=metrics,
)
nodes = (st.lists(node, min_size=3, max_size=6) | st.lists(node, max_size=2)).map(
    lambda found: [replace(one, id=f"n{place}") for place, one in enumerate(found)]
)
models = st.sampled_from(((), (), (), ("l4",), ("t4", "V100"), ("none",)))
gpu_request = st.one_of(
    *[st.just(GpuRequest())] * 2,
    st.builds(GpuRequest, count=st.sampled_from((-1, 1, 2, 4)), models=models),
    st.builds(
        GpuRequest,
        share=st.sampled_from((0.0, 0.1, 0.333333, 0.5, 1.0)),
        vram_bytes=st.sampled_from((0, 10, 23, 4 * GIB)),
        encoders=st.sampled_from((0, 1, 3)),
        models=models,
    ),
)
little = st.sampled_from((0, 0, 1, GIB))
resources = st.builds(
    Resources,
    cpu=st.sampled_from((0.0, 0.0, 0.1, 0.5, 1.001, 4.0)),
    memory_bytes=little,
    disk_bytes=little,
    gpu=gpu_request,
)
match = st.one_of(
    st.builds(
        Match,
        key=st.sampled_from(("tier", "rank", "zone", "id", "os", "region")),
        op=st.sampled_from(("in", "not in", "exists", "not exists")),
        values=st.lists(st.sampled_from(("gold", "1", "a", "n1", "linux", "eu")), max_size=2).map(
            tuple
        ),
    ),
    st.builds(
        Match,
        key=st.sampled_from(("rank", "tier")),
        op=st.sampled_from((">", "<")),
        values=st.sampled_from((("1",), ("2",), ("x",))),
    ),
)
few = st.lists(match, max_size=1).map(tuple)
placed_anywhere = st.just(PlacementRequest())
placement = st.one_of(
    *[placed_anywhere] * 4,
    st.builds(
        PlacementRequest,
        node=st.sampled_from(("", "", "", "", "n1", "n9")),
        region=st.sampled_from(("", "", "", "eu")),
        zone=st.sampled_from(("", "", "", "a")),
        match=few,
        forbid=few,
        prefer=st.lists(st.builds(Wish, match=match), max_size=1).map(tuple),
        spread=st.sampled_from(("", "", "node", "zone", "tier")),
        spread_by=st.sampled_from(("tenant", "template")),
        spread_most=st.sampled_from((None, 0, 1, 2)),
        player_region=st.sampled_from(("", "players")),
        max_latency_ms=st.sampled_from((None, 10.0, 50.0)),
    ),
)
need = st.builds(
    Need,
    resources=resources,
    placement=placement,
    features=st.sampled_from((frozenset(), frozenset(("command",)), frozenset(("container",)))),
    host_ports=ports.map(tuple),
    images=st.sampled_from(((), ("game",))),
    tenant=st.sampled_from(("red", "blue")),
    template=st.sampled_from(("race", "chess")),
    avoid=st.sampled_from(((), ("n0",))),
)
needs = st.lists(need, min_size=1, max_size=8)
factor = st.sampled_from((0.5, 1.0, 1.0, 1.15, 2.3))
capacity = (
    st.just(Capacity())
    | st.just(Capacity())
    | st.builds(
        Capacity,
        cpu_factor=factor,
        memory_factor=factor,
        disk_factor=factor,
        vram_factor=factor,
        encoder_factor=factor,
        share_factor=factor,
        reserve_cpu=st.sampled_from((0.0, 0.0, 0.1, 4.0)),
        reserve_memory_bytes=little,
        reserve_disk_bytes=little,
    )
)
milliseconds = st.lists(st.sampled_from((float("nan"), 5.0, 20.0, 80.0)), min_size=6, max_size=6)


@dataclass(frozen=True)
class Known(Latencies):
    """Those that a test says."""

    ms: tuple[float, ...] = ()

    def toward(self, region: str, fleet: Fleet) -> Latency:
        del region
        ms = np.array([self.ms[int(node.id[1:])] for node in fleet.nodes], dtype=np.float64)
        return certain(ms)


class Scene:
    """A fleet, and beside it the plain world that it must agree with."""

    def __init__(self, nodes: list[GameNode], capacity: Capacity, ms: list[float]) -> None:
        self.world = World(nodes, capacity)
        self.world.ms = {f"n{place}": one for place, one in enumerate(ms) if not math.isnan(one)}
        self.fleet = Fleet(nodes, capacity=capacity)
        self.mix = Mix()
        self.policy = Policy(capacity=capacity)
        self.latencies = Known(tuple(ms))
        self.chooser = self.fresh()

    def fresh(self, fleet: Fleet | None = None) -> Chooser:
        """A chooser that has decided nothing yet."""
        return Chooser(
            Snapshot(
                fleet=fleet or self.fleet,
                profile=self.mix.profile,
                policy=self.policy,
                latencies=self.latencies,
            )
        )

    def rebuilt(self, without: str = "") -> Chooser:
        """One over a new fleet of the same nodes and allocations."""
        nodes = [node for node in self.world.nodes.values() if node.id != without]
        return self.fresh(Fleet(nodes, self.world.held.values(), capacity=self.world.capacity))

    def learn(self, need: Need) -> None:
        self.mix.learn(need.resources)
        if self.mix.profile is not self.chooser.snapshot.profile:
            self.chooser = self.fresh()

    def place(self, need: Need) -> Choice | None:
        """Choose, and hold what was chosen."""
        self.learn(need)
        choice = self.chooser.choose(need)
        if not isinstance(choice, Choice):
            return None
        held = Allocation(
            pipeline_id=f"p{len(self.world.held)}-{self.fleet.clock}",
            generation=1,
            node_id=choice.node_id,
            resources=need.resources,
            gpu_devices=choice.gpu_devices,
            host_ports=need.host_ports,
            tenant=need.tenant,
            template=need.template,
            created_at=NOW,
        )
        self.fleet.hold(held)
        self.world.held[held.pipeline_id] = held
        return choice

    def release(self, place: int) -> None:
        """Free the allocation that is at `place`, counted around."""
        if self.world.held:
            key = sorted(self.world.held)[place % len(self.world.held)]
            del self.world.held[key]
            self.fleet.free(key, 1)

    def change(self, place: int, node: GameNode) -> None:
        """Another machine behind the id of the node at `place`, counted around."""
        if self.world.nodes:
            node = replace(node, id=sorted(self.world.nodes)[place % len(self.world.nodes)])
            self.world.nodes[node.id] = node
            self.fleet.put(node)


scenes = st.builds(Scene, nodes, capacity, milliseconds)
act = st.one_of(
    st.tuples(st.just("place"), need),
    st.tuples(st.just("place"), need),
    st.tuples(st.just("release"), st.integers(0, 20)),
)
change = st.tuples(st.just("change"), st.tuples(st.integers(0, 20), node))
