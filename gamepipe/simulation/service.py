"""A fleet and its queue in memory, served as production does: the same turns, reservations, limits,
and the same preemption.

Time comes with each call, and may be virtual.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import Lineup, allocation_of
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.preemption import Claim, Preemption, rooms


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One that waits or holds a node."""

    waiting: Waiting
    need: Need
    priority: int
    labels: tuple[Label, ...]
    """Those whose keys are limited."""

    @property
    def line(self) -> Line:
        """By itself."""
        return Line(priority=self.priority, need=self.need, labels=self.labels, head=self.waiting)


class Service:
    """Whoever is granted a node holds it until `end`, or until it makes room by `vacate`."""

    def __init__(self, chooser: Chooser, policy: OrderPolicy) -> None:
        self._chooser = chooser
        self._fleet = chooser.snapshot.fleet
        self._policy = policy
        self._lineup = Lineup()
        self._waiting: dict[str, _Entry] = {}
        self._placed: dict[str, _Entry] = {}
        self._labelled: Counter[Label] = Counter()
        self._vacated: dict[str, str] = {}
        """What was left since the last pass: the node, by whom it was left for."""
        self._asked: list[Preemption] = []

    def put(
        self,
        name: str,
        need: Need,
        *,
        at: datetime,
        priority: int = 0,
        labels: tuple[Label, ...] = (),
    ) -> None:
        """It waits from then on."""
        self._wait(self._entry(name, need, at, priority, labels))

    def serve(self, *, now: datetime) -> list[Grant]:
        """One pass over the queue."""
        turns = self._turns(now)
        granted = self._pass(turns, now)
        self._close(turns)
        return granted

    def come(
        self,
        name: str,
        need: Need,
        *,
        now: datetime,
        priority: int = 0,
        labels: tuple[Label, ...] = (),
    ) -> list[Grant]:
        """A newcomer, behind those of its class who wait and fit: what they and it are granted; or
        it waits, and others may be asked to make room for it."""
        return self._enter(self._entry(name, need, now, priority, labels), now)

    def end(self, name: str) -> None:
        """What it held is free, and offered by the next pass."""
        self._leave(name)

    def vacate(self, name: str, *, now: datetime) -> list[Grant]:
        """It makes room, and waits again at its old place in the queue: what others and it are
        granted."""
        left = self._leave(name)
        granted = self.serve(now=now)
        again = replace(left.waiting, generation=left.waiting.generation + 1)
        return granted + self._enter(replace(left, waiting=again), now)

    def hear(self) -> list[Preemption]:
        """Who was asked to make room since this was called last."""
        asked, self._asked = self._asked, []
        return asked

    # --- passes ---------------------------------------------------------------------------------

    def _turns(self, now: datetime) -> Turns:
        return Turns(
            self._lineup.lines(),
            self._chooser,
            self._policy,
            now=now,
            labelled=self._labelled,
            claims=self._claims(),
        )

    def _pass(self, turns: Turns, now: datetime) -> list[Grant]:
        granted = []
        for grant in turns:
            self._hold(grant, self._waiting.pop(grant.waiting.pipeline_id), now)
            granted.append(grant)
        return granted

    def _close(self, turns: Turns) -> None:
        turns.lift()
        self._asked += turns.preemptions

    def _enter(self, entry: _Entry, now: datetime) -> list[Grant]:
        turns, line = self._turns(now), entry.line
        granted = self._pass(turns, now)
        choice = turns.find_behind(line)
        if choice is not None:
            grant = Grant(line=line, waiting=line.head, choice=choice)
            self._close(turns)
            self._hold(grant, entry, now)
            return [*granted, grant]
        if self._may_preempt(entry):
            turns.make_room(line)
        self._close(turns)
        self._wait(entry)
        return granted

    def _may_preempt(self, entry: _Entry) -> bool:
        """Else nothing is worked out; why it waits is of no interest here."""
        there = self._fleet.preemptibles
        return bool(there.leaving or there.classes_below(entry.priority))

    def _claims(self) -> list[Claim]:
        """As the store has them."""
        made = rooms(self._fleet, self._vacated)
        self._vacated = {}
        waiting = [self._waiting[name] for name in made if name in self._waiting]
        return [
            Claim(
                pipeline_id=one.waiting.pipeline_id,
                generation=one.waiting.generation,
                priority=one.priority,
                need=one.need,
                node_id=made[one.waiting.pipeline_id],
            )
            for one in sorted(waiting, key=lambda one: one.waiting.age)
        ]

    # --- who waits, and who holds what ----------------------------------------------------------

    def _entry(
        self, name: str, need: Need, at: datetime, priority: int, labels: tuple[Label, ...]
    ) -> _Entry:
        keys = self._policy.limits.label_keys
        return _Entry(
            waiting=Waiting(pipeline_id=name, queued_at=at),
            need=need,
            priority=priority,
            labels=tuple(sorted(label for label in labels if label[0] in keys)),
        )

    def _wait(self, entry: _Entry) -> None:
        self._waiting[entry.waiting.pipeline_id] = entry
        self._lineup.put(entry.waiting, entry.need, priority=entry.priority, labels=entry.labels)

    def _hold(self, grant: Grant, entry: _Entry, now: datetime) -> None:
        """Nobody hesitates: an offer is taken at once."""
        preemptible = entry.need.placement.preemptible
        held = replace(allocation_of(grant), taken_at=now, preemptible=preemptible)
        self._fleet.hold(held)
        self._labelled.update(entry.labels)
        self._placed[entry.waiting.pipeline_id] = entry

    def _leave(self, name: str) -> _Entry:
        entry = self._placed.pop(name)
        generation = entry.waiting.generation
        held = self._fleet.held[name, generation]
        if held.preempted_for:
            self._vacated[held.preempted_for] = held.node_id
        self._fleet.free(name, generation)
        self._labelled.subtract(entry.labels)
        return entry
