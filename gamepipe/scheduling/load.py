"""What a node measures anew with every heartbeat, and what of it stands."""

from dataclasses import replace

from gamepipe.model.node import GameNode, NodeMetrics

LOAD_GRAIN = 0.02
"""Load that moved by less is not looked at anew."""


def load_of(node: GameNode) -> float:
    """0..1: the share of the busiest of CPU, memory and each GPU, as its agent measured it."""
    metrics, facts = node.metrics, node.facts
    shares = [metrics.cpu_share, metrics.memory_used_bytes / max(facts.memory_bytes, 1)]
    return min(max([*shares, *(gpu.share for gpu in metrics.gpus)]), 1.0)


def standing_of(node: GameNode) -> GameNode:
    """All else."""
    return replace(node, metrics=NodeMetrics(), last_seen_at=None, session=0, stream=0)
