"""Where pipelines would go, why one fits nowhere, and what would change that."""

from dataclasses import dataclass

from gamepipe.model import reason as reasons
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
class Turn:
    """The place in the queue of one that waits, by the order in which it is served."""

    position: int
    """From 1: whose turn it would be, if everybody before found room."""
    waiting: int
    """In the whole queue, with itself."""
    priority: int
    tenant: str
    share: float
    """0..1: the largest part that its tenant holds of any resource of the fleet."""
    share_of: str
    """Of which: cores, memory, disk, GPUs."""
    weight: float
    """Of its tenant: a share counts divided by it."""
    above: int = 0
    """Before it, of a higher priority."""
    older: int = 0
    """Before it, of its own tenant."""
    others: int = 0
    """Before it, of other tenants: by then they hold less for their weight, or as much and have
    waited longer."""
    limited: int = 0
    """Passed over, whatever room there is: limits hold them back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Why it does not start."""

    summary: str
    """One sentence."""
    reason: str = reasons.NO_CAPACITY
    """LIMIT_REACHED: the summary has the limit, and the nodes are not why."""
    kept_node_id: str = ""
    """It has waited for long, and what it needs of this node is kept for it."""
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
class MadeRoom:
    """Copies that start on a node once others have left it."""

    node_id: str
    count: int
    victims: tuple[str, ...]
    """Ids of the pipelines that they would preempt, in order."""
    leaving: tuple[str, ...] = ()
    """Those that leave the node already, and that they would wait for, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What would become of copies of a pipeline now, with nothing written."""

    asked: int
    fitting: int
    """Copies that start, one after the other."""
    nodes: int
    """Of the whole fleet."""
    placed: tuple[Placed, ...] = ()
    """In the order in which the nodes are first chosen."""
    first: Explanation | None = None
    """How the node of the first copy is chosen."""
    refused: Refused | None = None
    """What stops the next copy; None: all that were asked for start."""
    preempting: tuple[MadeRoom, ...] = ()
    """Where further copies start by preemption, in the order in which the nodes are chosen."""
    queue_full: int = 0
    """Copies that would be refused when they are created, for too many of their tenant wait."""
    turn: Turn | None = None
    """The place in the queue of the first copy that waits."""
    queue_length: int = 0
    """Pipelines that wait now."""
    served_before: int = 0
    """Those of them that would be given a node first."""


def _listed(node_ids: tuple[str, ...], nodes: int) -> str:
    named = node_ids[:NODES_NAMED]
    rest = nodes - len(named)
    if rest > 0:
        return f"{', '.join(named)} and {rest} more"
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _some(node_ids: tuple[str, ...], nodes: int) -> str:
    return node_ids[0] if nodes == 1 else f"any of {_listed(node_ids, nodes)}"
