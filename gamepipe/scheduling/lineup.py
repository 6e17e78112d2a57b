"""A queue in memory, served with the same turns as that of the store: for simulations, and for
answers to who only asks."""

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gamepipe.model.record import Allocation
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting

Place = tuple[int, Need, tuple[Label, ...]]


@dataclass(slots=True)
class Lineup:
    """Entries by priority, need and limited labels, the oldest of each first."""

    _waiting: dict[Place, deque[Waiting]] = field(default_factory=lambda: defaultdict(deque))

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def where(self, test: Callable[[Line], bool]) -> "Lineup":
        """Another one, served by itself, with the lines that pass a test."""
        other = Lineup()
        for place, line in self._waiting.items():
            if line and test(self._line(place, line)):
                other._waiting[place] = line.copy()
        return other

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

    def find(self, pipeline_id: str) -> Line | None:
        """The line of one that waits, as though it stood ahead there."""
        for (priority, need, labels), line in self._waiting.items():
            for waiting in line:
                if waiting.pipeline_id == pipeline_id:
                    return Line(priority=priority, need=need, labels=labels, head=waiting)
        return None

    def lines(self, *, least: int | None = None) -> list[Line]:
        """For one pass, over all or over those of at least that priority; whoever gets a grant
        leaves the queue when the next one is asked for."""
        return [
            self._line(place, line)
            for place, line in self._waiting.items()
            if line and (least is None or place[0] >= least)
        ]

    def _line(self, place: Place, line: deque[Waiting]) -> Line:
        priority, need, labels = place

        def follow() -> Waiting | None:
            line.popleft()
            return line[0] if line else None

        return Line(priority=priority, need=need, labels=labels, head=line[0], follow=follow)


def serve(turns: Turns) -> Iterator[Grant]:
    """One pass: each grant is held in the fleet, and told."""
    for grant in turns:
        turns.chooser.snapshot.fleet.hold(allocation_of(grant))
        yield grant


def allocation_of(grant: Grant) -> Allocation:
    """What is held for a grant."""
    need, waiting = grant.line.need, grant.waiting
    return Allocation(
        pipeline_id=waiting.pipeline_id,
        generation=waiting.generation,
        node_id=grant.choice.node_id,
        resources=need.resources,
        gpu_devices=grant.choice.gpu_devices,
        host_ports=need.host_ports,
        created_at=waiting.queued_at,
        queued_at=waiting.queued_at,
        tenant=need.tenant,
        template=need.template,
        priority=grant.line.priority,
    )
