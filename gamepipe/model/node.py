"""Game nodes: the facts an agent declares, where the machine is, what is observed of it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from gamepipe.model.state import Connectivity, NodeState


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuFacts:
    """One GPU device, from NVML or declared by `--facts`."""

    index: int
    model: str
    memory_bytes: int = 0
    uuid: str = ""
    encoders: int = 0
    """NVENC sessions at once; 0 means unknown or none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What a node has. `cpu` in cores; sizes in bytes."""

    cpu: float
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[GpuFacts, ...] = ()
    os: str = ""
    kernel: str = ""
    architecture: str = ""
    docker_version: str = ""
    """Empty: no Docker engine answered."""
    agent_version: str = ""
    features: tuple[str, ...] = ()
    """What the agent can run: `command`, `container`."""
    images: tuple[str, ...] = ()
    """Container images cached on the node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    text: str = ""
    region: str = ""
    zone: str = ""
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuUse:
    """What one device is doing."""

    index: int
    share: float = 0.0
    """Of its compute, 0..1."""
    memory_used_bytes: int = 0
    encoder_sessions: int = 0
    """NVENC sessions that are open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeMetrics:
    """A sample that a heartbeat carries; shares in 0..1."""

    cpu_share: float = 0.0
    memory_used_bytes: int = 0
    disk_used_bytes: int = 0
    running_steps: int = 0
    gpus: tuple[GpuUse, ...] = ()
    network_received_bytes_per_second: float = 0.0
    network_sent_bytes_per_second: float = 0.0
    round_trips_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds to each region that the node probed; heartbeats do not carry them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GameNode:
    """A machine of the fleet as the store knows it."""

    id: str
    facts: NodeFacts
    alias: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    location: Location = field(default_factory=Location)
    state: NodeState = NodeState.NORMAL
    connectivity: Connectivity = Connectivity.ONLINE
    session: int = 0
    """Issued by the server at each registration; the newest wins."""
    session_key: str = field(default="", repr=False)
    """Proves the session; for the node's agent alone."""
    stream: int = 0
    """Issued at each connection of that session; a gateway ends an older one."""
    agent_state: NodeState | None = None
    """The state that the agent said it acts by; None: it has not said."""
    transport: str = "temporal"
    registered_at: datetime | None = None
    last_seen_at: datetime | None = None
    metrics: NodeMetrics = field(default_factory=NodeMetrics)
    stop_orders: int = 0
    """Stored stop orders that the node has not confirmed; above 0 it takes nothing new."""
    unaccounted: int = 0
    """Instances that were lost with the node, and of which it has not said since what became of
    them; above 0 it takes nothing new."""


BEATS_PER_TTL = 6
BEATS_PER_SECOND = 500
"""Heartbeats that the whole fleet may send: a larger fleet beats more slowly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often nodes send heartbeats, and after how much silence one may be lost."""

    heartbeat: timedelta
    ttl: timedelta


def pace_of(fleet: int, ttl: timedelta) -> Pace:
    """The pace of `fleet` nodes: `ttl` is the least that it may be, and it grows with the fleet, so
    that the rate of heartbeats stays bounded. By whole seconds: each change is told to everybody,
    and must not be at every node that comes."""
    heartbeat = ttl / BEATS_PER_TTL
    if fleet / BEATS_PER_SECOND > heartbeat.total_seconds():
        heartbeat = timedelta(seconds=ceil(fleet / BEATS_PER_SECOND))
    return Pace(heartbeat=heartbeat, ttl=heartbeat * BEATS_PER_TTL)
