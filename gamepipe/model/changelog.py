"""What a run changed since its last save: numbered events, changed steps and instances."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gamepipe.model.record import EventKind, Instance, PipelineEvent, StepRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsaved:
    """What one save carries; whoever takes it hands it to the store until it is stored."""

    steps: tuple[StepRecord, ...]
    events: tuple[PipelineEvent, ...]
    instances: tuple[Instance, ...]


class ChangeLog:
    """Events are numbered from 1 without gaps; `now` gives the time of each."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self.last_event = 0
        self.dirty = False
        self._steps: set[int] = set()
        self._instances: set[str] = set()
        self._events: list[PipelineEvent] = []

    def record(self, kind: EventKind, **data: Any) -> None:
        """Write down an event."""
        self.last_event += 1
        self._events.append(
            PipelineEvent(number=self.last_event, kind=kind, at=self._now(), data=data)
        )
        self.dirty = True

    def give_back_number(self) -> None:
        """The event that was taken last did not happen after all."""
        self.last_event -= 1

    def touch_steps(self, indices: Iterable[int]) -> None:
        self._steps.update(indices)
        self.dirty = True

    def touch_instance(self, instance_id: str) -> None:
        self._instances.add(instance_id)
        self.dirty = True

    def take(self, steps: Sequence[StepRecord], instances: Mapping[str, Instance]) -> Unsaved:
        """Everything since the last take, as it is now."""
        unsaved = Unsaved(
            steps=tuple(steps[index] for index in sorted(self._steps)),
            events=tuple(self._events),
            instances=tuple(instances[key] for key in sorted(self._instances)),
        )
        self._steps.clear()
        self._instances.clear()
        self._events = []
        self.dirty = False
        return unsaved
