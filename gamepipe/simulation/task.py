"""Work that arrives in a simulation."""

from dataclasses import dataclass

from gamepipe.scheduling.need import Need
from gamepipe.scheduling.unit import MILLIONTHS, millionths


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One request, and how much GPU it asks for."""

    need: Need
    gpu: int
    """Millionths of a device."""


def task_of(need: Need) -> Task:
    """A request for VRAM or encoders alone counts as no part of a device."""
    request = need.resources.gpu
    whole = max(request.count, 0) * MILLIONTHS
    return Task(need=need, gpu=whole or millionths(request.share))
