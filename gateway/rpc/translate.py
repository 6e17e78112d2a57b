"""Messages of the protocol to domain values and back."""

from datetime import UTC

from gamepipe.model.node import GpuFacts, Location, NodeFacts, NodeMetrics
from gamepipe.model.record import LogKey, LogLine, LogStream, StopOrder
from gamepipe.ports import LogChunk, Registration
from gamepipe.v1 import node_pb2

_STREAMS = {
    node_pb2.LOG_STREAM_STDOUT: LogStream.STDOUT,
    node_pb2.LOG_STREAM_STDERR: LogStream.STDERR,
    node_pb2.LOG_STREAM_SYSTEM: LogStream.SYSTEM,
}


def registration(message: node_pb2.RegisterRequest) -> Registration:
    return Registration(
        node_id=message.node_id,
        facts=_facts(message.facts),
        labels=dict(message.labels),
        location=_location(message.location),
        transport=message.transport or "temporal",
    )


def _facts(message: node_pb2.NodeFacts) -> NodeFacts:
    return NodeFacts(
        cpu=message.cpu,
        memory_bytes=message.memory_bytes,
        disk_bytes=message.disk_bytes,
        gpus=tuple(
            GpuFacts(
                index=gpu.index,
                model=gpu.model,
                memory_bytes=gpu.memory_bytes,
                uuid=gpu.uuid,
                encoders=gpu.encoders,
            )
            for gpu in message.gpus
        ),
        os=message.os,
        kernel=message.kernel,
        architecture=message.architecture,
        docker_version=message.docker_version,
        agent_version=message.agent_version,
        features=tuple(message.features),
        images=tuple(message.images),
    )


def _location(message: node_pb2.Location) -> Location:
    return Location(
        text=message.text,
        region=message.region,
        zone=message.zone,
        latitude=message.latitude if message.HasField("latitude") else None,
        longitude=message.longitude if message.HasField("longitude") else None,
    )


def metrics(message: node_pb2.Heartbeat) -> NodeMetrics:
    return NodeMetrics(
        cpu_share=message.cpu_share,
        memory_used_bytes=message.memory_used_bytes,
        disk_used_bytes=message.disk_used_bytes,
        running_steps=message.running_steps,
    )


def log_key(message: node_pb2.LogKey) -> LogKey:
    return LogKey(
        pipeline_id=message.pipeline_id,
        generation=message.generation,
        step_index=message.step_index,
        attempt=message.attempt,
    )


def log_chunk(message: node_pb2.PushLogsRequest) -> LogChunk:
    return LogChunk(
        key=log_key(message.key),
        lines=tuple(
            LogLine(
                number=line.number,
                at=line.at.ToDatetime(tzinfo=UTC),
                stream=_STREAMS.get(line.stream, LogStream.SYSTEM),
                text=line.text,
                continued=line.continued,
            )
            for line in message.lines
        ),
        series=message.series,
    )


def stop_order(order: StopOrder) -> node_pb2.StopOrder:
    return node_pb2.StopOrder(
        order_id=order.id,
        pipeline_id=order.pipeline_id,
        generation=order.generation,
        step_index=order.step_index,
        instance_id=order.instance_id,
    )
