"""A fleet and its queue in memory, served as production does: the same turns, reservations, limits.

Time comes with each call, and may be virtual.
"""

from datetime import datetime

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.lineup import Lineup, allocation_of, serve
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting
from gamepipe.scheduling.order_policy import OrderPolicy


class Service:
    """Whoever is granted a node holds it until `end`."""

    def __init__(self, chooser: Chooser, policy: OrderPolicy) -> None:
        self._chooser = chooser
        self._fleet = chooser.snapshot.fleet
        self._policy = policy
        self._lineup = Lineup()

    def put(self, name: str, need: Need, *, at: datetime) -> None:
        """It waits from then on."""
        self._lineup.put(Waiting(pipeline_id=name, queued_at=at), need)

    def serve(self, *, now: datetime) -> list[Grant]:
        """One pass over the queue."""
        turns = self._turns(now)
        granted = list(serve(turns))
        turns.lift()
        return granted

    def come(self, name: str, need: Need, *, now: datetime) -> list[Grant]:
        """A newcomer, behind those who wait and fit: what they and it are granted; or it waits."""
        turns = self._turns(now)
        granted = list(serve(turns))
        line = Line(need=need, head=Waiting(pipeline_id=name, queued_at=now))
        choice = turns.find_behind(line)
        turns.lift()
        if choice is None:
            self.put(name, need, at=now)
            return granted
        grant = Grant(line=line, waiting=line.head, choice=choice)
        self._fleet.hold(allocation_of(grant))
        return [*granted, grant]

    def end(self, name: str) -> None:
        """What it held is free, and offered by the next pass."""
        self._fleet.free(name, 1)

    def _turns(self, now: datetime) -> Turns:
        return Turns(self._lineup.lines(), self._chooser, self._policy, now=now)
