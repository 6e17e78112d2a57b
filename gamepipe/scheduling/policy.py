"""What an operator sets: weights of the score, how far resources are over-committed, and more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gamepipe.scheduling.unit import whole

MOST = 1 << 62
"""Columns hold no larger number."""


def sold(amount: float) -> int:
    """Whole units of an amount, neither below zero nor above what a column holds."""
    return whole(max(min(amount, MOST), 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What of a node is sold: `facts * factor - reserve`, for each resource."""

    cpu_factor: float = 1.0
    memory_factor: float = 1.0
    disk_factor: float = 1.0
    vram_factor: float = 1.0
    encoder_factor: float = 1.0
    share_factor: float = 1.0
    reserve_cpu: float = 0.0
    """Cores of each node that are never sold."""
    reserve_memory_bytes: int = 0
    reserve_disk_bytes: int = 0

    def of(self, there: Sequence[float]) -> tuple[int, ...]:
        """Of millionths of cores, bytes of memory and of disk what is sold; never below zero."""
        factors = (self.cpu_factor, self.memory_factor, self.disk_factor)
        reserve = (self.reserve_cpu * 1e6, self.reserve_memory_bytes, self.reserve_disk_bytes)
        parts = zip(there, factors, reserve, strict=True)
        return tuple(sold(amount * factor - kept) for amount, factor, kept in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Costs are added up, and the node with the least is chosen; a term with weight 0 is off.
    docs/scheduling.md says what one unit of each term is."""

    fragmentation: float = 1.0
    packing: float = 0.005
    """Negative: spread."""
    undeclared: float = 0.05
    load: float = 0.2
    latency: float = 2.0
    locality: float = 0.5
    failures: float = 1.0
    spread: float = 1.0
    preference: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Everything that a decision depends on besides the fleet and the need."""

    weights: Weights = field(default_factory=Weights)
    capacity: Capacity = field(default_factory=Capacity)
    templates: Mapping[str, Weights] = field(default_factory=dict)
    """Weights for the pipelines of a template."""

    def weights_for(self, template: str) -> Weights:
        return self.templates.get(template, self.weights)
