"""Who is served next: one queue over all tenants.

Priority classes come first, the highest before the others. Within a class the tenant is next that
holds the least of the fleet for its weight (`dominance`). Of a tenant the one is next that has
waited the longest. Whoever fits nowhere is passed over, and so is everybody who asks for the same;
the others go on. Shares follow every grant, so that the next pick is right.

Passed over for long enough, the oldest of a tenant *reserves*, when its turn has come: what it
needs of one node is closed to all who come later in the order, and counts as held by its tenant. So
the tenant gets nothing else for it meanwhile, its share falls, its turn comes first in every pass,
and the room grows. Nothing of that is written down: each pass works it out anew. One that may
*preempt* does so before that; what others leave for it is kept in the same way.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from gamepipe.model import reason as reasons
from gamepipe.model.record import Verdict
from gamepipe.scheduling.choose import Choice, Chooser, Closed, Refusal, verdicts
from gamepipe.scheduling.dominance import weighed_share
from gamepipe.scheduling.limit import LABEL, Label, kinds_of
from gamepipe.scheduling.need import Need, kind_of
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.preemption import Claim, Preempting, kept_from_others, said
from gamepipe.scheduling.reservation import Reservations, reserve


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """One that waits."""

    pipeline_id: str
    generation: int = 1
    queued_at: datetime

    @property
    def age(self) -> tuple[datetime, str]:
        """Orders by age, the oldest first."""
        return self.queued_at, self.pipeline_id


@dataclass(kw_only=True, slots=True)
class Line:
    """All that wait with the same priority, need and limited labels: the oldest stands ahead."""

    priority: int = 0
    need: Need
    labels: tuple[Label, ...] = ()
    """Those whose keys are limited."""
    head: Waiting
    follow: Callable[[], Waiting | None] = lambda: None
    """Who stands ahead once the head has left the queue; None: nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A node for the head of a line."""

    line: Line
    waiting: Waiting
    choice: Choice


class Turns:
    """One pass over the queue. Each grant must be held in the chooser's fleet, and its pipeline
    have left the queue, before the next one is asked for. Behind the pass, what is reserved counts
    in the fleet until it is lifted.

    Args:
        lines: of the whole queue.
        labelled: how many live allocations there are with each limited label.
        claims: of those that wait, for whom room is made.
    """

    def __init__(
        self,
        lines: Iterable[Line],
        chooser: Chooser,
        policy: OrderPolicy,
        *,
        now: datetime,
        labelled: Mapping[Label, int] | None = None,
        claims: Iterable[Claim] = (),
    ) -> None:
        self._lines = sorted(lines, key=lambda line: (-line.priority, line.head.age))
        self.chooser = chooser
        self._fleet = chooser.snapshot.fleet
        self._policy, self._now = policy, now
        self._labelled = dict(labelled or {})
        self._no_room: set[Need] = set()
        self.reservations = Reservations(self._fleet)
        since = now - policy.patience
        self._preempting = Preempting(chooser.snapshot, self.reservations, claims, now, since)
        self.preemptions = self._preempting.asked
        self.refused: list[Line] = []
        """Lines whose head got nothing."""

    def __iter__(self) -> Iterator[Grant]:
        for priority, lines in groupby(self._lines, key=lambda line: line.priority):
            self._preempting.keep_claimed(priority)
            yield from self._serve(list(lines))

    def place(self, line: Line) -> Choice | Refusal:
        """For a head that got nothing, why not; and for one who is not in the queue, and comes
        behind all of its priority who are, a node."""
        if over := self.over_limit(line):
            return Refusal(counts={}, summary=over, reason=reasons.LIMIT_REACHED)
        return self.find_behind(line) or self._refusal(line)

    def find_behind(self, line: Line) -> Choice | None:
        """As `place`, without a word about why there is nothing."""
        if self.over_limit(line):
            return None
        others = self.reservations.kept_from(line.head.pipeline_id, line.priority)
        with self.reservations.without(one for one in self.reservations if one not in others):
            return self.chooser.find(line.need)

    def make_room(self, line: Line) -> Refusal:
        """Preempt for a head that `place` refused, if anybody can be. Why it waits."""
        lower = [one for one in self.reservations if one.kept.priority < line.priority]
        with self.reservations.without(lower):
            self._make_room(line, behind=True)
        return self._refusal(line)

    def _refusal(self, line: Line) -> Refusal:
        with self.reservations.without(self.reservations):
            answer = self.chooser.choose(line.need, self._kept_from(line))
        summary = answer.summary if isinstance(answer, Refusal) else ""
        counts = answer.counts if isinstance(answer, Refusal) else {}
        for own in self.reservations.of(line.head.pipeline_id):
            summary = f"{said(own)}: {summary}"
        return Refusal(counts=counts, summary=summary)

    def verdicts(self, line: Line) -> tuple[Verdict, ...]:
        """Of each node why it is not for the head of a line."""
        with self.unreserved(line) as closed:
            return verdicts(line.need, self.chooser.snapshot, closed)

    def lift(self) -> None:
        """Let go what was reserved: it is worked out anew by the next pass."""
        self.reservations.clear()

    @contextmanager
    def unreserved(self, line: Line) -> Iterator[Closed]:
        """The fleet without what is reserved; the rows of which something is kept from a line."""
        with self.reservations.without(self.reservations):
            yield self._kept_from(line)

    def _kept_from(self, line: Line) -> dict[int, str]:
        """Rows of which something is reserved for others of its class or above, and what to say."""
        others = self.reservations.kept_from(line.head.pipeline_id, line.priority)
        return {one.row: kept_from_others(one) for one in others}

    # --- one class ------------------------------------------------------------------------------

    def _serve(self, lines: list[Line]) -> Iterator[Grant]:
        """Tenants by what they hold for their weight; of each its oldest, as far as it fits."""
        tenants: dict[str, _Tenant] = {}
        for line in lines:
            tenants.setdefault(line.need.tenant, _Tenant()).add(line)
        turns = [self._turn(name, tenant) for name, tenant in tenants.items()]
        heapq.heapify(turns)
        while turns:
            _, _, name = heapq.heappop(turns)
            tenant = tenants[name]
            line = tenant.take()
            choice = self._find(line)
            if choice is not None:
                self.reservations.drop(line.head.pipeline_id)
                yield Grant(line=line, waiting=line.head, choice=choice)
                self.count(line)
                if (behind := line.follow()) is not None:
                    line.head = behind
                    tenant.add(line)
            elif not self._make_room(line) and self._may_reserve(line):
                self._reserve(line)
            if tenant.lines:
                heapq.heappush(turns, self._turn(name, tenant))

    def _turn(self, name: str, tenant: "_Tenant") -> tuple[float, tuple[datetime, str], str]:
        return weighed_share(name, self._fleet, self._policy), tenant.oldest.head.age, name

    def _find(self, line: Line) -> Choice | None:
        kind, over = kind_of(line.need), bool(self.over_limit(line))
        made = self.reservations.made_for(line.priority, line.need)
        with self.reservations.without(made):
            known = over or (kind in self._no_room and not made)
            choice = None if known else self.chooser.find(line.need)
        if choice is None:
            self.refused.append(line)
            if not over:
                self._no_room.add(kind)
        return choice

    def count(self, line: Line) -> None:
        """Somebody with the labels of this line was placed."""
        for label in line.labels:
            self._labelled[label] = self._labelled.get(label, 0) + 1

    def over_limit(self, line: Line, *, behind: bool = False) -> str:
        """What to say of the limit that the head of a line would exceed; "": none. `behind`: one
        for whom room is made comes first, though he stands in the same line."""
        limits = self._policy.limits
        if not limits.most:
            return ""
        over = limits.over(
            (kind, name, self._placed(kind, name, line, behind))
            for kind, name in kinds_of(line.need, line.labels)
        )
        kept = [one.kept for one in self.reservations if one.kept.tenant == line.need.tenant]
        return over and over + "".join(f", with what {one.pipeline_id} reserved" for one in kept)

    def _placed(self, kind: str, name: str, line: Line, behind: bool) -> int:
        """With what is reserved for others, but not for the line itself."""
        if kind.startswith(LABEL):
            return self._labelled.get((kind[len(LABEL) :], name), 0)
        made = [] if behind else self.reservations.made_for(line.priority, line.need)
        own = {one.key for one in [*made, *self.reservations.of(line.head.pipeline_id)]}
        return self._fleet.count_group(kind, name) - len(own)

    # --- reservations ---------------------------------------------------------------------------

    def _make_room(self, line: Line, *, behind: bool = False) -> bool:
        """Whether others make room for a head that fits nowhere."""
        if not self._policy.preemption or self.over_limit(line, behind=behind):
            return False
        claim = Claim(
            pipeline_id=line.head.pipeline_id,
            generation=line.head.generation,
            priority=line.priority,
            need=line.need,
        )
        return self._preempting.make_room(claim, kind_of(line.need))

    def _may_reserve(self, line: Line) -> bool:
        stand = [one.kept for one in self.reservations if one.making_room is None]
        return (
            len(stand) < self._policy.reservations
            and all(one.tenant != line.need.tenant for one in stand)
            and self._now - line.head.queued_at >= self._policy.reserve_after
            and not self.over_limit(line)
        )

    def _reserve(self, line: Line) -> None:
        waiting = line.head
        reservation = reserve(
            line.need,
            self.chooser.snapshot,
            pipeline_id=waiting.pipeline_id,
            generation=waiting.generation,
            priority=line.priority,
            since=self._now,
        )
        if reservation is not None:
            self.reservations.add(reservation)


class _Tenant:
    """Its lines in one class, by the age of their heads."""

    def __init__(self) -> None:
        self.lines: list[tuple[tuple[datetime, str], Line]] = []

    def add(self, line: Line) -> None:
        heapq.heappush(self.lines, (line.head.age, line))

    @property
    def oldest(self) -> Line:
        return self.lines[0][1]

    def take(self) -> Line:
        return heapq.heappop(self.lines)[1]
