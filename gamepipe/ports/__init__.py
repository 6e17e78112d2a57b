"""Ports: what the layers above ask of the store. One contract test suite runs over every adapter.

Every method is one transaction and raises `StoreUnavailable` when the database does not answer.
Times are aware and UTC; `now` comes from the caller, so that tests and replays decide it.
"""

from gamepipe.logchunk import LogChunk
from gamepipe.ports.latency import LatencyRepository
from gamepipe.ports.placement import PlacementRepository
from gamepipe.ports.repository import (
    EventRepository,
    InstanceRepository,
    LogRepository,
    NodeRepository,
    PipelineRepository,
    Store,
)
from gamepipe.ports.value import (
    LogQuery,
    LogStanding,
    LogTail,
    MetricsReport,
    NodeChange,
    NodeMark,
    NodeSession,
    PipelineChange,
    PipelineFilter,
    PipelinePage,
    Registration,
)
from gamepipe.ports.wakeup import Wakeup
from gamepipe.wire import Notice, OfferMade

__all__ = [
    "EventRepository",
    "InstanceRepository",
    "LatencyRepository",
    "LogChunk",
    "LogQuery",
    "LogRepository",
    "LogStanding",
    "LogTail",
    "MetricsReport",
    "NodeChange",
    "NodeMark",
    "NodeRepository",
    "NodeSession",
    "Notice",
    "OfferMade",
    "PipelineChange",
    "PipelineFilter",
    "PipelinePage",
    "PipelineRepository",
    "PlacementRepository",
    "Registration",
    "Store",
    "Wakeup",
]
