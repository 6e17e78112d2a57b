"""Where pipelines would go, why one fits nowhere, and what would change that."""

from dataclasses import dataclass

from gamepipe.model.explanation import Explanation
from gamepipe.model.record import Verdict

NODES_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Nodes that are ruled out by the same thing; the first thing of each node counts."""

    code: str
    count: int
    node_id: str
    """One of them."""
    message: str
    """What is said of that one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """What would let a pipeline run: one change, or two together."""

    changes: tuple[str, ...]
    """Where a change is made on a node, `{node}` stands for its id."""
    node_ids: tuple[str, ...]
    """Nodes that would then fit, some of them."""
    nodes: int
    """How many would."""

    @property
    def text(self) -> str:
        """`free 2 cores on n3, and set it to normal`."""
        where, said = _some(self.node_ids, self.nodes), []
        on_node = any("{node}" in change for change in self.changes)
        for change in self.changes:
            said.append(change.replace("{node}", where, 1))
            if "{node}" in change:
                where = "it"
        verb = "fits" if self.nodes == 1 else "fit"
        after = "" if on_node else f": then {_listed(self.node_ids, self.nodes)} {verb}"
        return ", and ".join(said) + after


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Why no node fits."""

    summary: str
    """One sentence."""
    causes: tuple[Cause, ...] = ()
    """The most frequent first; their counts add up to the number of nodes."""
    verdicts: tuple[Verdict, ...] = ()
    """Of every node the first thing that stands in the way, in order of ids."""
    remedies: tuple[Remedy, ...] = ()
    """What would let it run, the smallest change first; none: nothing small would."""
    closest: str = ""
    """Without a remedy: what stands in the way on the node that lacks the least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """How many copies a node takes."""

    node_id: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Where copies of a pipeline would go now, with nothing written."""

    asked: int
    fitting: int
    """Copies that fit, one after the other."""
    nodes: int
    """Of the whole fleet."""
    placed: tuple[Placed, ...] = ()
    """In the order in which the nodes are first chosen."""
    first: Explanation | None = None
    """How the node of the first copy is chosen."""
    refused: Refused | None = None
    """What stops the next copy; None: all that were asked for fit."""


def _listed(node_ids: tuple[str, ...], nodes: int) -> str:
    named = node_ids[:NODES_NAMED]
    rest = nodes - len(named)
    if rest > 0:
        return f"{', '.join(named)} and {rest} more"
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _some(node_ids: tuple[str, ...], nodes: int) -> str:
    return node_ids[0] if nodes == 1 else f"any of {_listed(node_ids, nodes)}"
