"""What workflows exchange with activities and agents: one dataclass in, one out, for each.

These values land in Temporal's history, so no value of an env or a secret is ever among them.
"""

from gamepipe.wire.control import (
    CleanUp,
    PlaceAnswer,
    PlaceRequest,
    PlaceStatus,
    SaveAck,
    SaveRequest,
    SaveStatus,
    WithdrawRequest,
)
from gamepipe.wire.name import CONTROL_QUEUE, node_queue, workflow_id
from gamepipe.wire.node import (
    CleanWorkspace,
    InstanceEnd,
    InstanceEnded,
    InstanceStop,
    ReportKind,
    Scope,
    StepAssignment,
    StepReport,
    StepResult,
    StopAnswer,
    StopInstanceOrder,
    StopStep,
)
from gamepipe.wire.run import (
    CancelOrder,
    CarriedRun,
    NodeLost,
    Offer,
    PipelineEnd,
    PipelineStart,
    Placement,
    RunProgress,
    RunSettings,
)

__all__ = [
    "CONTROL_QUEUE",
    "CancelOrder",
    "CarriedRun",
    "CleanUp",
    "CleanWorkspace",
    "InstanceEnd",
    "InstanceEnded",
    "InstanceStop",
    "NodeLost",
    "Offer",
    "PipelineEnd",
    "PipelineStart",
    "PlaceAnswer",
    "PlaceRequest",
    "PlaceStatus",
    "Placement",
    "ReportKind",
    "RunProgress",
    "RunSettings",
    "SaveAck",
    "SaveRequest",
    "SaveStatus",
    "Scope",
    "StepAssignment",
    "StepReport",
    "StepResult",
    "StopAnswer",
    "StopInstanceOrder",
    "StopStep",
    "WithdrawRequest",
    "node_queue",
    "workflow_id",
]
