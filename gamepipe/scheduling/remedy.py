"""What would let a pipeline run that fits nowhere: the smallest change, or two together.

Obstacles do not depend on each other, so a node fits as soon as each of its own is gone: one with a
single obstacle needs one change, one with two needs two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, product

import numpy as np

from gamepipe.model.forecast import Remedy
from gamepipe.scheduling.change import Case, changes
from gamepipe.scheduling.choose import NONE_CLOSED, Closed, kept
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.obstacle import Obstacle
from gamepipe.scheduling.quantity import Change
from gamepipe.scheduling.rule import crowding, obstacles
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import Amounts

MOST_CHANGES = 2
TOLD = 5
NAMED = 50
"""Nodes that a remedy names."""


@dataclass(kw_only=True, slots=True)
class _Way:
    """The same changes, on every node that they would do for."""

    changes: tuple[Change, ...]
    rows: list[int] = field(default_factory=list)

    @property
    def rank(self) -> tuple[object, ...]:
        size = round(sum(change.size for change in self.changes), 6)
        words = tuple(change.words for change in self.changes)
        return len(self.changes), size, -len(self.rows), words

    @property
    def asked(self) -> list[Change]:
        """Those of what is asked for: they count on every node."""
        return [change for change in self.changes if "{node}" not in change.words]


def remedies(
    need: Need, snapshot: Snapshot, closed: Closed = NONE_CLOSED
) -> tuple[tuple[Remedy, ...], str]:
    """What would let it run, the smallest change first; or nothing, and what stands in the way on
    the node that lacks the least."""
    found, counts = _all(need, snapshot, closed)
    if not len(counts):
        return (), ""
    ways: dict[tuple[str, ...], _Way] = {}
    for row in np.flatnonzero(counts <= MOST_CHANGES):
        for one in _combined(_cases(need, snapshot, found, int(row))):
            key = tuple(change.words for change in one)
            ways.setdefault(key, _Way(changes=one)).rows.append(int(row))
    told = _different(sorted(ways.values(), key=lambda way: way.rank))
    if told:
        return tuple(_remedy(way, snapshot) for way in told), ""
    return (), _closest(snapshot, found, int(counts.argmin()))


def _all(need: Need, snapshot: Snapshot, closed: Closed) -> tuple[list[Obstacle], Amounts]:
    """Every obstacle that stands somewhere, and [n]: how many each node has."""
    counts = np.zeros(len(snapshot.fleet), dtype=np.int64)
    found = []
    for obstacle in chain(
        obstacles(need, snapshot), crowding(need, snapshot.fleet), kept(closed, snapshot.fleet)
    ):
        if obstacle.where.any():
            found.append(obstacle)
            counts += obstacle.where
    return found, counts


def _cases(
    need: Need, snapshot: Snapshot, found: Sequence[Obstacle], row: int
) -> Iterator[list[Change]]:
    for obstacle in found:
        if obstacle.where[row]:
            yield changes(Case(need=need, snapshot=snapshot, obstacle=obstacle, row=row))


def _combined(choices: Iterator[list[Change]]) -> Iterator[tuple[Change, ...]]:
    """One change for each obstacle; those on the node first. The same one may do for two."""
    for picked in product(*choices):
        ordered = sorted(picked, key=lambda change: ("{node}" not in change.words, change.size))
        yield tuple(dict.fromkeys(ordered))


def _different(ways: Sequence[_Way]) -> list[_Way]:
    """The first of each kind. What is enough by itself is not told with something else besides."""
    first: dict[tuple[str, ...], _Way] = {}
    enough = {way.changes[0].words for way in ways if len(way.changes) == 1}
    for way in ways:
        if len(way.changes) > 1 and any(change.words in enough for change in way.asked):
            continue
        first.setdefault(tuple(sorted(change.kind for change in way.changes)), way)
    return list(first.values())[:TOLD]


def _remedy(way: _Way, snapshot: Snapshot) -> Remedy:
    nodes = snapshot.fleet.nodes
    return Remedy(
        changes=tuple(change.words for change in way.changes),
        node_ids=tuple(nodes[row].id for row in way.rows[:NAMED]),
        nodes=len(way.rows),
    )


def _closest(snapshot: Snapshot, found: Sequence[Obstacle], row: int) -> str:
    said = [obstacle.say(row) for obstacle in found if obstacle.where[row]]
    node = snapshot.fleet.nodes[row].id
    return f"node {node} lacks the least, and {len(said)} things are against it: {'; '.join(said)}"
