"""What nodes measure: messages to domain values."""

from collections.abc import Mapping

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.latency import LONGEST_REPORTED, name_flaw, region
from gamepipe.model.node import GpuUse, NodeMetrics
from gamepipe.ports import MetricsReport
from gamepipe.v1 import node_pb2
from gateway.latency import LONGEST_MS, ProbeReport

MAX_ROUND_TRIPS = 100


def metrics(message: node_pb2.Heartbeat) -> NodeMetrics:
    return NodeMetrics(
        cpu_share=message.cpu_share,
        memory_used_bytes=message.memory_used_bytes,
        disk_used_bytes=message.disk_used_bytes,
        running_steps=message.running_steps,
        gpus=tuple(
            GpuUse(
                index=gpu.index,
                share=gpu.share,
                memory_used_bytes=gpu.memory_used_bytes,
                encoder_sessions=gpu.encoder_sessions,
            )
            for gpu in message.gpus
        ),
        network_received_bytes_per_second=message.network_received_bytes_per_second,
        network_sent_bytes_per_second=message.network_sent_bytes_per_second,
    )


def metrics_report(message: node_pb2.ReportMetricsRequest) -> MetricsReport:
    """Raises `InvalidRequest`."""
    trips = message.round_trips
    if len(trips) > MAX_ROUND_TRIPS or len({trip.region for trip in trips}) < len(trips):
        raise InvalidRequest(f"`round_trips` has at most {MAX_ROUND_TRIPS} regions, each once")
    return MetricsReport(
        node_id=message.node_id,
        session=message.session,
        metrics=metrics(message.metrics) if message.HasField("metrics") else None,
        round_trips_ms={trip.region: _milliseconds(trip) for trip in trips} or None,
    )


def _milliseconds(trip: node_pb2.RoundTrip) -> float:
    if wrong := name_flaw(trip.region, longest=LONGEST_REPORTED):
        raise InvalidRequest(f"`round_trips.region` {wrong}")
    if not 0 < trip.milliseconds <= LONGEST_MS:
        raise InvalidRequest(f"`round_trips.milliseconds` is above 0 and at most {LONGEST_MS:g}")
    return trip.milliseconds


def probes(round_trips_ms: Mapping[str, float]) -> list[ProbeReport]:
    """What placement learns from them, as from probes that come over REST."""
    return [ProbeReport(source=region(name), rtt_ms=ms) for name, ms in round_trips_ms.items()]
