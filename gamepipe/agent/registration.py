"""What the agent declares of its node, in the terms of the protocol."""

from gamepipe.agent.settings import AgentSettings
from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import Location, NodeFacts, NodeMetrics
from gamepipe.v1 import node_pb2

PROTOCOL = 1
PACE = "pace"
HEARTBEAT_TAKEN = "heartbeat_taken"
REPORT_METRICS = "report_metrics"
FEATURES = (PACE, HEARTBEAT_TAKEN, REPORT_METRICS)
"""What this agent understands beyond the version."""


class ProtocolMismatch(GamePipeError):
    """A gateway answered in a protocol that this agent does not speak."""

    reason = "PROTOCOL_UNSUPPORTED"


def check_protocol(answer: node_pb2.RegisterResponse) -> None:
    """Raises `ProtocolMismatch`."""
    if answer.protocol != PROTOCOL:
        older = "gateway" if answer.protocol < PROTOCOL else "agent"
        raise ProtocolMismatch(
            f"the gateway speaks protocol {answer.protocol}, this agent {PROTOCOL}: update the "
            f"{older}"
        )


def registration(settings: AgentSettings, facts: NodeFacts) -> node_pb2.RegisterRequest:
    return node_pb2.RegisterRequest(
        node_id=settings.node_id,
        facts=_facts(facts),
        labels=settings.labels,
        location=_location(settings.location),
        transport=settings.transport,
        protocol=PROTOCOL,
        features=FEATURES,
    )


def _facts(facts: NodeFacts) -> node_pb2.NodeFacts:
    return node_pb2.NodeFacts(
        cpu=facts.cpu,
        memory_bytes=facts.memory_bytes,
        disk_bytes=facts.disk_bytes,
        gpus=[
            node_pb2.Gpu(
                index=gpu.index,
                model=gpu.model,
                memory_bytes=gpu.memory_bytes,
                uuid=gpu.uuid,
                encoders=gpu.encoders,
            )
            for gpu in facts.gpus
        ],
        os=facts.os,
        kernel=facts.kernel,
        architecture=facts.architecture,
        docker_version=facts.docker_version,
        agent_version=facts.agent_version,
        features=facts.features,
        images=facts.images,
    )


def heartbeat_of(sample: NodeMetrics) -> node_pb2.Heartbeat:
    return node_pb2.Heartbeat(
        cpu_share=sample.cpu_share,
        memory_used_bytes=sample.memory_used_bytes,
        disk_used_bytes=sample.disk_used_bytes,
        running_steps=sample.running_steps,
        gpus=[
            node_pb2.GpuUse(
                index=gpu.index,
                share=gpu.share,
                memory_used_bytes=gpu.memory_used_bytes,
                encoder_sessions=gpu.encoder_sessions,
            )
            for gpu in sample.gpus
        ],
        network_received_bytes_per_second=sample.network_received_bytes_per_second,
        network_sent_bytes_per_second=sample.network_sent_bytes_per_second,
    )


def _location(location: Location) -> node_pb2.Location:
    return node_pb2.Location(
        text=location.text,
        region=location.region,
        zone=location.zone,
        latitude=location.latitude,
        longitude=location.longitude,
    )
