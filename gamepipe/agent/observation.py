"""What the agent sees of an instance, in its own terms and in those of the protocol."""

from dataclasses import dataclass

from gamepipe.model.state import InstanceState
from gamepipe.v1 import node_pb2


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A transition of an instance."""

    instance_id: str
    state: InstanceState
    exit_code: int | None = None
    reason: str = ""
    message: str = ""


def observed(observation: Observation) -> node_pb2.InstanceObserved:
    return node_pb2.InstanceObserved(
        instance_id=observation.instance_id,
        state=observation.state.value,
        exit_code=observation.exit_code,
        reason=observation.reason,
        message=observation.message,
    )
