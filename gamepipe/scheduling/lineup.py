"""A queue in memory: for simulations, which serve it with the same turns as the store does."""

from bisect import insort
from collections import defaultdict, deque
from dataclasses import dataclass, field

from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Line, Waiting

Place = tuple[int, Need, tuple[Label, ...]]


@dataclass(slots=True)
class Lineup:
    """Entries by priority, need and limited labels, the oldest of each first."""

    _waiting: dict[Place, deque[Waiting]] = field(default_factory=lambda: defaultdict(deque))

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(
        self,
        waiting: Waiting,
        need: Need,
        *,
        priority: int = 0,
        labels: tuple[Label, ...] = (),
    ) -> None:
        line = self._waiting[priority, need, labels]
        if not line or line[-1].age < waiting.age:
            line.append(waiting)
        else:
            insort(line, waiting, key=lambda one: one.age)

    def lines(self) -> list[Line]:
        """For one pass; whoever gets a grant leaves the queue when the next one is asked for."""
        return [self._line(place, line) for place, line in self._waiting.items() if line]

    def _line(self, place: Place, line: deque[Waiting]) -> Line:
        priority, need, labels = place

        def follow() -> Waiting | None:
            line.popleft()
            return line[0] if line else None

        return Line(priority=priority, need=need, labels=labels, head=line[0], follow=follow)
