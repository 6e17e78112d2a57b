"""Things that are handed on from holder to holder, and how few of them are enough.

Holders are partially ordered: one may take over what another held before it. The fewest things are
as many as the holders that stand beside each other want (Dilworth's theorem); a maximum flow, by
augmenting paths, finds who takes over how many from whom.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


def divide(wants: Sequence[int], before: Sequence[int]) -> list[tuple[int, ...]]:
    """Things, numbered from 0 without a gap, for every holder; deterministic.

    Args:
        wants: how many each holder wants.
        before: for each holder a set of bits, the holders that it may take over from: only earlier
            ones, and whatever those may take over from too.

    Returns:
        For each holder as many numbers as it wants, ascending; two holders share one only when the
        later may take over from the earlier.
    """
    flow = _Flow(before=before, spare=list(wants))
    for holder, want in enumerate(wants):
        flow.supply(holder, want)
    return flow.numbers(wants)


@dataclass(kw_only=True, slots=True)
class _Flow:
    before: Sequence[int]
    spare: list[int]
    """What of each holder nobody takes over yet."""
    handed: dict[int, dict[int, int]] = field(default_factory=dict)
    """Giver -> taker -> how many."""

    def supply(self, taker: int, want: int) -> None:
        """Let `taker` take over as much as is possible at all, re-arranging what others take."""
        while want and (path := self._path(taker)):
            many = min(want, self.spare[path[-1][0]])
            for (giver, _), (_, other) in pairwise(path):
                many = min(many, self.handed[giver][other])
            self._push(path, many)
            want -= many

    def _path(self, taker: int) -> list[tuple[int, int]]:
        """Steps (giver, taker) to a giver with something spare; each taker but the first gives up
        what it has of the giver before. Empty: there is none."""
        came: dict[int, list[tuple[int, int]]] = {taker: []}
        seen = 0
        queue = [taker]
        for current in queue:
            givers = list(_bits(self.before[current] & ~seen))
            for giver in reversed(givers):
                if self.spare[giver]:
                    return [*came[current], (giver, current)]
            for giver in givers:
                seen |= 1 << giver
                for other in self.handed.get(giver, {}):
                    if other not in came:
                        came[other] = [*came[current], (giver, current)]
                        queue.append(other)
        return []

    def _push(self, path: list[tuple[int, int]], many: int) -> None:
        for giver, taker in path:
            takers = self.handed.setdefault(giver, {})
            takers[taker] = takers.get(taker, 0) + many
        for (giver, _), (_, other) in pairwise(path):
            takers = self.handed[giver]
            takers[other] -= many
            if not takers[other]:
                del takers[other]
        self.spare[path[-1][0]] -= many

    def numbers(self, wants: Sequence[int]) -> list[tuple[int, ...]]:
        held: list[tuple[int, ...]] = []
        free: list[list[int]] = []
        count = 0
        for holder, want in enumerate(wants):
            mine: list[int] = []
            for giver in range(holder):
                many = self.handed.get(giver, {}).get(holder, 0)
                mine += free[giver][:many]
                del free[giver][:many]
            new = want - len(mine)
            mine += range(count, count + new)
            count += new
            held.append(tuple(sorted(mine)))
            free.append(sorted(mine))
        return held


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
