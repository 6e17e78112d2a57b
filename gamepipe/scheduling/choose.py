"""The choice: among the nodes that fit, the one with the fewest live pipelines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gamepipe.model.record import Verdict
from gamepipe.scheduling.feasible import obstacle, pick_devices
from gamepipe.scheduling.fleet import NodeUse
from gamepipe.scheduling.need import Need


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    node_id: str
    gpu_devices: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """No node fits: a verdict for each, and one sentence for people."""

    verdicts: tuple[Verdict, ...]
    summary: str


def choose(need: Need, fleet: Sequence[NodeUse]) -> Choice | Refusal:
    """The node for `need`. Deterministic: ties go to the lowest node id."""
    verdicts = {use.node.id: obstacle(need, use) for use in fleet}
    fitting = [use for use in fleet if verdicts[use.node.id] is None]
    if not fitting:
        found = tuple(verdict for verdict in verdicts.values() if verdict is not None)
        return Refusal(verdicts=found, summary=_summary(found))
    best = min(
        fitting,
        key=lambda use: (use.node.id in need.avoid, len(use.allocations), use.node.id),
    )
    devices = pick_devices(need.resources.gpu, best)
    return Choice(node_id=best.node.id, gpu_devices=devices or ())


def _summary(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "no node is registered: start an agent with `gamepipe agent`"
    counts = Counter(verdict.code for verdict in verdicts).most_common()
    examples = {verdict.code: verdict for verdict in reversed(verdicts)}
    causes = (
        f"{count} {code} (node {examples[code].node_id} {examples[code].message})"
        for code, count in counts
    )
    return f"none of {len(verdicts)} node(s) fits: {'; '.join(causes)}"
