"""The fleet and its queue as they are, for somebody who only asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import Lineup
from gamepipe.scheduling.order import Turns
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.preemption import Claim


@dataclass(frozen=True, kw_only=True)
class Present:
    """The asker's own: its fleet holds, and its queue loses, what an answer grants."""

    chooser: Chooser
    lineup: Lineup = field(default_factory=Lineup)
    policy: OrderPolicy = field(default_factory=OrderPolicy)
    labelled: Mapping[Label, int] = field(default_factory=dict)
    """Live allocations with each limited label."""
    claims: tuple[Claim, ...] = ()
    """Of those for whom room is made."""
    now: datetime
    left_in_queue: int | None = None
    """As many more of the asker's tenant may wait; None: any number."""

    def turns(self, *, least: int | None = None) -> Turns:
        """One pass over all that wait, or over those of at least that priority."""
        lines = self.lineup.lines(least=least)
        return Turns(
            lines,
            self.chooser,
            self.policy,
            now=self.now,
            labelled=self.labelled,
            claims=self.claims,
        )
