"""Why a node was chosen, as it was decided."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A node that fits, with what it would cost, in all and by term."""

    node_id: str
    cost: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Of one choice, as it was made."""

    nodes: int
    """Of the whole fleet at that time."""
    candidates: int
    """Those of them that fitted."""
    ranked: tuple[Scored, ...]
    """The best of them, the best first: that one was chosen."""
