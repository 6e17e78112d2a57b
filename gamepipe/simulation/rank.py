"""What made-up requests say of themselves besides what they need: class and label."""

import random
from dataclasses import dataclass

from gamepipe.scheduling.limit import Label

URGENT, ORDINARY, PREEMPTIBLE = "urgent", "ordinary", "preemptible"
CLASSES = (URGENT, ORDINARY, PREEMPTIBLE)
"""Those that may be preempted are told apart from the others of their priority."""
PRIORITY = {URGENT: 10, ORDINARY: 0, PREEMPTIBLE: 0}
MODE = "mode"
MODES = (("casual", 6.0), ("ranked", 3.0), ("event", 1.0))
"""Values of this label, with how often they come."""


def class_of(priority: int, *, preemptible: bool) -> str:
    """One of `CLASSES`."""
    if priority > 0:
        return URGENT
    return PREEMPTIBLE if preemptible else ORDINARY


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """Parts of the requests, 0..1."""

    urgent: float = 0.0
    """Of a higher class; nobody preempts these."""
    preemptible: float = 0.0
    """Of the others."""

    def pick(self, dice: random.Random) -> str:
        """One of `CLASSES`. As many throws for each, so that who is urgent depends on nothing
        else."""
        urgent, preemptible = dice.random() < self.urgent, dice.random() < self.preemptible
        if urgent:
            return URGENT
        return PREEMPTIBLE if preemptible else ORDINARY


def made_labels(dice: random.Random) -> tuple[Label, ...]:
    """Of one request."""
    mode = dice.choices([one for one, _ in MODES], [often for _, often in MODES])[0]
    return ((MODE, mode),)
