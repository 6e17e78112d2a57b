"""The choice: of the nodes that nothing stands in the way of, the one that costs the least."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gamepipe.model import reason as reasons
from gamepipe.model.explanation import Explanation, Scored
from gamepipe.model.record import Verdict
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.obstacle import Obstacle
from gamepipe.scheduling.rule import crowding as crowded_places
from gamepipe.scheduling.rule import obstacles
from gamepipe.scheduling.score import crowding, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.standing import DECIMALS, Leading, Standings
from gamepipe.scheduling.values import Mask, Numbers, Rows

SHOWN_DECIMALS = 6
EXPLAINED = 4
"""Nodes that an explanation compares: the one that is chosen, and runners-up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    node_id: str
    gpu_devices: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """No node fits."""

    counts: Mapping[str, int]
    """How many nodes each cause rules out, by its code; the first cause of each node counts."""
    summary: str
    """One sentence for people."""
    reason: str = reasons.NO_CAPACITY


Closed = Mapping[int, str]
"""Rows that are kept for others, and what to say about each."""
NONE_CLOSED: Closed = {}
RESERVED = "NODE_RESERVED"
"""Of a node that is closed."""


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """The last decision, as things were."""

    leading: Leading
    terms: Mapping[str, Numbers]
    """Of each leading row."""


class Chooser:
    """Decides over one snapshot. What it keeps between decisions saves work and changes none."""

    def __init__(self, snapshot: Snapshot, before: "Chooser | None" = None) -> None:
        """Args:
        before: decided over a snapshot that is no more; what it kept is used if it still holds.
        """
        self.snapshot = snapshot
        rooms = before._standings.rooms if before else None
        self._standings: Standings = Standings(snapshot, rooms)
        self._last: _Decided | None = None

    def choose(self, need: Need, closed: Closed = NONE_CLOSED) -> Choice | Refusal:
        """The node for `need`. No node is left out; ties go to the lowest node id."""
        choice = self.find(need, closed)
        if choice is not None:
            return choice
        return _refusal(_sift(need, self.snapshot, closed), self.snapshot.fleet)

    def find(self, need: Need, closed: Closed = NONE_CLOSED) -> Choice | None:
        """What `choose` chooses, without a word about why there is nothing."""
        leading = self._decide(need, closed).leading
        if not leading.fitting:
            return None
        fleet, row = self.snapshot.fleet, int(leading.rows[0])
        devices = fleet.devices.pick(need.resources.gpu, row)
        return Choice(node_id=fleet.nodes[row].id, gpu_devices=devices)

    def ranked(self, need: Need) -> tuple[Scored, ...]:
        """The nodes that fit, the best first: what `choose` would choose, one after the other."""
        open_, cost = self._standings.of(need)
        rows = np.flatnonzero(open_)
        rows = rows[np.argsort(cost[rows].round(DECIMALS), kind="stable")]
        found = terms(need, self.snapshot, rows)
        found |= {name: term[rows] for name, term in crowding(need, self.snapshot).items()}
        return self._scored(rows, cost[rows], found)

    def explain(self, need: Need, closed: Closed = NONE_CLOSED) -> Explanation:
        """How the node of `need` would be chosen, with the runners-up."""
        self._decide(need, closed)
        return self.explain_last()

    def explain_last(self) -> Explanation:
        """How it was chosen the last time, whatever is held since. Cheap."""
        assert self._last is not None  # noqa: S101 - something was asked for
        leading = self._last.leading
        return Explanation(
            nodes=len(self.snapshot.fleet),
            candidates=leading.fitting,
            ranked=self._scored(
                leading.rows, leading.costs, self._last.terms, decimals=SHOWN_DECIMALS
            ),
        )

    def _scored(
        self, rows: Rows, costs: Numbers, found: Mapping[str, Numbers], decimals: int = DECIMALS
    ) -> tuple[Scored, ...]:
        nodes = self.snapshot.fleet.nodes
        parts = np.array([*found.values()], dtype=np.float64).reshape(len(found), len(rows))
        return tuple(
            Scored(node_id=nodes[row].id, cost=cost, terms=dict(zip(found, some, strict=True)))
            for row, cost, some in zip(
                rows.tolist(),
                costs.round(decimals).tolist(),
                parts.T.round(decimals).tolist(),
                strict=True,
            )
        )

    def _decide(self, need: Need, closed: Closed) -> _Decided:
        leading = self._standings.leading(need, closed, count=EXPLAINED)
        found = self._standings.terms_of(need, leading.rows)
        for name, term in crowding(need, self.snapshot).items():
            found[name] = term[leading.rows]
        self._last = _Decided(leading=leading, terms=found)
        return self._last


def choose(need: Need, snapshot: Snapshot) -> Choice | Refusal:
    """One decision; who makes many keeps a `Chooser`."""
    return Chooser(snapshot).choose(need)


def verdicts(need: Need, snapshot: Snapshot, closed: Closed = NONE_CLOSED) -> tuple[Verdict, ...]:
    """Of each node that does not fit the first thing that stands in the way, in order of ids."""
    said = {
        int(row): Verdict(
            node_id=snapshot.fleet.nodes[row].id, code=obstacle.code, message=obstacle.say(int(row))
        )
        for obstacle, first in _sift(need, snapshot, closed)
        for row in np.flatnonzero(first)
    }
    return tuple(said[row] for row in sorted(said))


Found = list[tuple[Obstacle, Mask]]
"""Each obstacle, with the rows for which it is the first."""


def _sift(need: Need, snapshot: Snapshot, closed: Closed) -> Found:
    fleet = snapshot.fleet
    open_ = np.ones(len(fleet), dtype=bool)
    found: Found = []
    for obstacle in chain(
        obstacles(need, snapshot), crowded_places(need, fleet), kept(closed, fleet)
    ):
        first = open_ & obstacle.where
        if first.any():
            found.append((obstacle, first))
            open_ &= ~first
    return found


def kept(closed: Closed, fleet: Fleet) -> Iterator[Obstacle]:
    """What stands in the way of who comes behind whom it is kept for."""
    if closed:
        where = np.zeros(len(fleet), dtype=bool)
        where[list(closed)] = True
        yield Obstacle(code=RESERVED, where=where, say=lambda row: closed[row])


def _refusal(found: Found, fleet: Fleet) -> Refusal:
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for obstacle, first in found:
        row = int(first.argmax())
        counts[obstacle.code] += int(first.sum())
        node = fleet.nodes[row].id
        examples.setdefault(obstacle.code, f"node {node} {obstacle.say(row)}")
    if not counts:
        why = "no node is registered: start an agent with `gamepipe agent`"
        return Refusal(counts={}, summary=why)
    causes = (f"{count} {code} ({examples[code]})" for code, count in counts.most_common())
    return Refusal(
        counts=dict(counts),
        summary=f"none of {len(fleet)} node(s) fits: {'; '.join(causes)}",
    )
