"""Everything that a decision reads."""

from dataclasses import dataclass, field
from functools import cached_property

from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.fragmentation import Fragmentation
from gamepipe.scheduling.latency import Latencies, Latency
from gamepipe.scheduling.mix import Profile
from gamepipe.scheduling.policy import Policy
from gamepipe.scheduling.values import Numbers


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A decision is a function of this and of the need: no clock, no chance, nothing written."""

    fleet: Fleet
    profile: Profile = field(default_factory=Profile)
    policy: Policy = field(default_factory=Policy)
    latencies: Latencies = field(default_factory=Latencies)
    failures: Numbers | None = None
    """[n]: recent failures of each node, fading; None: there were none."""

    @cached_property
    def fragmentation(self) -> Fragmentation:
        return Fragmentation(self.profile, self.fleet)

    def toward(self, region: str) -> Latency:
        """From a region of players to every node."""
        return self.latencies.toward(region, self.fleet)
