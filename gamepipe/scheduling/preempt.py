"""Which pipelines make room for one of a higher class that fits nowhere.

Nobody is asked where room is being made already, and nobody elsewhere while somebody leaves for the
one that needs it: the node may be closed for a moment. Else the fewest on one node are, all of them
of the lowest classes that are enough: of equally few those that lose the least work, then those of
the node that costs the least. Each is needed: without any one of them there would not be enough
room. Of one that had to start anew all counts since its place in the queue; else it would be the
youngest each time, and lose again and again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, combinations, islice

import numpy as np

from gamepipe.model.node import GameNode
from gamepipe.model.record import Allocation
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling.departure import Departure
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.reservation import lacking
from gamepipe.scheduling.score import OF_HELD, OF_NODE, terms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.standing import DECIMALS
from gamepipe.scheduling.values import Rows

MOST_NODES = 64
"""Of more nodes that would do, those are looked at that lack the least."""
MOST_SETS = 10_000
"""Of more sets of one size, none is the fewest for certain: a small one is found instead."""
WORK = timedelta(minutes=1)
"""Work that is lost counts in whole ones of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clearing:
    """Room on a node, once these have left."""

    row: int
    gpu_devices: tuple[int, ...]
    """That the need would get."""
    victims: tuple[Allocation, ...] = ()
    """To be asked; none: room is being made already."""


def awaited(for_: str, fleet: Fleet, since: datetime | None) -> set[int]:
    """Rows of nodes that others are leaving for this pipeline, as long as those are in use: one
    that people closed, or that is lost, is not waited for."""
    nodes = [one.node_id for one in fleet.preemptibles.coming(since) if one.preempted_for == for_]
    rows = {fleet.row_of[node_id] for node_id in nodes}
    return {row for row in rows if _is_in_use(fleet.nodes[row])}


def _is_in_use(node: GameNode) -> bool:
    return node.state is NodeState.NORMAL and node.connectivity is not Connectivity.LOST


def clear(
    need: Need,
    snapshot: Snapshot,
    *,
    priority: int,
    now: datetime,
    for_: str = "",
    since: datetime | None = None,
    only: Collection[int] = (),
) -> Clearing | None:
    """Room for a need that fits nowhere now, in the class `priority`; None: nobody can make it.

    Args:
        for_: id of the pipeline. Where room is made for it already is its first choice.
        since: the room of those that were asked before that is not counted on.
        only: rows of the nodes on which somebody may be asked; none: on all.
    """
    preemptibles = snapshot.fleet.preemptibles
    classes = preemptibles.classes_below(priority)
    if not classes and not preemptibles.leaving:
        return None
    search = _Search(need, snapshot, now, since, only)
    made = search.made_already(for_)
    return made or next(filter(None, map(search.least, classes)), None)


def room_on(
    need: Need, snapshot: Snapshot, row: int, since: datetime | None = None
) -> Clearing | None:
    """On this node, once those that are leaving it have left, if they were asked since."""
    return _Search(need, snapshot, since=since).room_on([row])


class _Search:
    def __init__(
        self,
        need: Need,
        snapshot: Snapshot,
        now: datetime | None = None,
        since: datetime | None = None,
        only: Collection[int] = (),
    ) -> None:
        self._need, self._snapshot, self._now = need, snapshot, now
        self._since, self._only = since, only
        self._fleet = snapshot.fleet
        self._departure = Departure(need, snapshot, since)

    def made_already(self, for_: str) -> Clearing | None:
        """Where it will fit with nobody asked: where room is made for it, else the first node."""
        leaving = self._fleet.preemptibles.coming(self._since)
        first: dict[int, bool] = {}
        if self._need.placement.spread:  # whoever leaves another node thins a crowd
            first = dict.fromkeys(range(len(self._fleet)), False)
        for one in leaving:
            row = self._fleet.row_of[one.node_id]
            first[row] = first.get(row, False) or one.preempted_for == for_
        return self.room_on(sorted(first, key=lambda row: (not first[row], row)))

    def room_on(self, nodes: Sequence[int]) -> Clearing | None:
        """On the first of these, with nobody asked."""
        rows = np.array(nodes, dtype=np.int64)
        fits = self._departure.fits(rows, self._departure.nothing(len(rows)))
        return self._clearing(int(rows[fits][0]), ()) if fits.any() else None

    def least(self, highest: int) -> Clearing | None:
        """With victims up to this class."""
        rows = self._promising(highest)
        found = _Candidates(self._departure, rows, highest, self._fleet)
        sets = found.fewest()
        if not len(sets):
            return None
        row, victims = self._best(found, sets)
        return self._clearing(row, victims)

    def _promising(self, highest: int) -> Rows:
        """Where it would fit without all of them."""
        rows = np.flatnonzero(self._departure.fits_without(highest))
        if self._only:
            rows = rows[np.isin(rows, list(self._only))]
        if len(rows) > MOST_NODES:
            lack = lacking(self._need, self._fleet)[rows].round(DECIMALS)
            rows = np.sort(rows[np.argsort(lack, kind="stable")[:MOST_NODES]])
        return rows

    def _best(self, found: "_Candidates", sets: Rows) -> tuple[int, tuple[Allocation, ...]]:
        """The first of those that lose the least, by work and then by the cost of the node."""
        rows = found.rows[sets[:, 0]]
        work = [self._work(one) for one in found.allocations]
        lost = np.array(work, dtype=np.int64)[sets].sum(axis=1)
        cost = np.zeros(len(self._fleet))
        few = np.unique(rows)
        for term in terms(self._need, self._snapshot, few, only=(*OF_NODE, *OF_HELD)).values():
            cost[few] += term
        best = np.lexsort((rows, cost[rows].round(DECIMALS), lost))[0]
        return int(rows[best]), tuple(found.allocations[at] for at in sets[best])

    def _work(self, allocation: Allocation) -> int:
        began = _began_at(allocation)
        return 0 if self._now is None or began is None else (self._now - began) // WORK

    def _clearing(self, row: int, victims: tuple[Allocation, ...]) -> Clearing:
        gone = self._departure.gone(victims).of(np.arange(len(victims)).reshape(1, -1))
        devices = self._departure.devices(row, gone)
        return Clearing(row=row, gpu_devices=devices, victims=victims)


class _Candidates:
    """Those of some nodes, the youngest of each first; sets of them are rows of their numbers."""

    def __init__(self, departure: Departure, rows: Rows, highest: int, fleet: Fleet) -> None:
        self._departure = departure
        self.allocations: list[Allocation] = []
        self._of_node: list[range] = []
        rows = np.array([row for row in rows if any(fleet.preemptibles.on(int(row), highest))], int)
        for row in rows:
            here = sorted(fleet.preemptibles.on(int(row), highest), key=_youngest)
            start = len(self.allocations)
            self.allocations += here
            self._of_node.append(range(start, start + len(here)))
        self.rows = np.repeat(rows, [len(numbers) for numbers in self._of_node])
        """[m]"""
        self._gone = departure.gone([*self.allocations, None])

    def fewest(self) -> Rows:
        """[s, k]: all sets of the smallest size that make enough room on their node."""
        largest = max(map(len, self._of_node), default=0)
        for size in range(1, largest + 1):
            every = chain.from_iterable(combinations(one, size) for one in self._of_node)
            sets = np.array(list(islice(every, MOST_SETS + 1)), dtype=np.int64)
            if len(sets) > MOST_SETS:
                return self._few(largest)
            fits = self._departure.fits(self.rows[sets[:, 0]], self._gone.of(sets))
            if fits.any():
                return sets[fits]
        return np.zeros((0, 1), dtype=np.int64)

    def _few(self, largest: int) -> Rows:
        """[s, k]: of each node all, without those that are not needed, the oldest of them first;
        then the smallest of these sets."""
        nobody = len(self.allocations)
        sets = np.full((len(self._of_node), largest), nobody)
        for node, numbers in enumerate(self._of_node):
            sets[node, : len(numbers)] = numbers[::-1]
        rows = self.rows[[numbers[0] for numbers in self._of_node]]
        enough = self._departure.fits(rows, self._gone.of(sets))
        sets, rows = sets[enough], rows[enough]
        for place in range(largest):
            fewer = sets.copy()
            fewer[:, place] = nobody
            needless = self._departure.fits(rows, self._gone.of(fewer))
            sets[needless] = fewer[needless]
        sizes = (sets != nobody).sum(axis=1)
        least = sets[sizes == sizes.min(initial=largest)]
        return np.sort(least, axis=1)[:, : sizes.min(initial=largest)]


def _began_at(allocation: Allocation) -> datetime | None:
    """From when on its work counts."""
    again = allocation.generation > 1 and allocation.queued_at
    return again or allocation.taken_at


def _youngest(allocation: Allocation) -> tuple[float, str]:
    began = _began_at(allocation) or allocation.created_at
    return -began.timestamp(), allocation.pipeline_id
