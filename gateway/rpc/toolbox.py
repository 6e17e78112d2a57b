"""What the streams of one gateway share."""

from dataclasses import dataclass

from gateway.agents import AgentService
from gateway.awake import AwakeClock
from gateway.health import GatewayHealth
from gateway.rpc.beats import BeatWriter
from gateway.rpc.token import TokenSeal


@dataclass(frozen=True, kw_only=True)
class StreamTools:
    """Of all streams alike."""

    agents: AgentService
    beats: BeatWriter
    seal: TokenSeal
    health: GatewayHealth
    clock: AwakeClock
