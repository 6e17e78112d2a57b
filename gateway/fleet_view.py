"""What REST answers of the fleet: nodes, instances, drains."""

from datetime import datetime
from typing import Self

from pydantic import Field

from gamepipe.model.node import GameNode
from gamepipe.model.state import Connectivity, InstanceState, NodeState
from gamepipe.scheduling.rule import closed_by
from gamepipe.wire.drain import DrainState
from gateway.draining import DrainReport
from gateway.view import VerdictView, View


class GpuView(View):
    index: int
    model: str
    memory_bytes: int
    uuid: str
    encoders: int


class FactsView(View):
    cpu: float = Field(description="Cores.")
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[GpuView, ...]
    os: str
    kernel: str
    architecture: str
    docker_version: str
    agent_version: str
    features: tuple[str, ...]


class LocationView(View):
    text: str = ""
    region: str = ""
    zone: str = ""
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)


class GpuUseView(View):
    index: int
    share: float = Field(description="Of its compute, 0 to 1.")
    memory_used_bytes: int
    encoder_sessions: int = Field(description="NVENC sessions that are open.")


class MetricsView(View):
    cpu_share: float
    memory_used_bytes: int
    disk_used_bytes: int
    running_steps: int
    gpus: tuple[GpuUseView, ...]
    network_received_bytes_per_second: float
    network_sent_bytes_per_second: float
    round_trips_ms: dict[str, float]


class NodeView(View):
    id: str
    alias: str
    state: NodeState
    agent_state: NodeState | None = Field(description="The state that its agent acts by.")
    connectivity: Connectivity
    labels: dict[str, str]
    location: LocationView
    facts: FactsView
    metrics: MetricsView
    transport: str
    session: int
    registered_at: datetime | None
    last_seen_at: datetime | None
    stop_orders: int = Field(description="Stops that the node has not confirmed.")
    unaccounted: int = Field(
        description="Instances lost with the node, of which it has not said what became of them."
    )
    closed: VerdictView | None = Field(
        default=None, description="Why it takes nothing new, and what helps; null: it takes work."
    )

    @classmethod
    def of(cls, node: GameNode) -> Self:
        verdict = closed_by(node)
        closed = VerdictView.model_validate(verdict) if verdict else None
        return cls.model_validate(node).model_copy(update={"closed": closed})


class InstanceView(View):
    id: str
    pipeline_id: str
    generation: int
    step_index: int
    step_name: str
    node_id: str
    state: InstanceState
    container_id: str
    container_name: str
    image: str
    ports: dict[str, str] = Field(description="`8080/tcp` -> `0.0.0.0:32768`.")
    exit_code: int | None
    reason: str
    message: str
    started_at: datetime | None
    ended_at: datetime | None


class DrainView(View):
    """How far a drain is."""

    node_id: str
    state: DrainState
    started_at: datetime
    deadline: datetime | None
    ignore_instances: bool
    pipelines: tuple[str, ...] = Field(description="Ids of those that still run there.")
    instances: tuple[str, ...] = Field(description="Ids of those that count and still run there.")

    @classmethod
    def of(cls, report: DrainReport) -> Self:
        progress, left = report.progress, report.left
        return cls(
            node_id=progress.drain.node_id,
            state=progress.state,
            started_at=progress.started_at,
            deadline=progress.drain.deadline,
            ignore_instances=progress.drain.ignore_instances,
            pipelines=left.pipelines,
            instances=left.instances,
        )
