"""Names that both sides of Temporal derive: task queues and workflow ids."""

CONTROL_QUEUE = "gamepipe"
DRAIN_QUEUE = "gamepipe-drains"
"""Of activities that wait for a node to empty, for days maybe: no save waits behind them."""


def node_queue(node_id: str) -> str:
    """Name of the task queue that a node's agent serves."""
    return f"node-{node_id}"


def node_identity(node_id: str) -> str:
    """Who serves a node's queue, as Temporal shows it: the node, whatever process speaks for it."""
    return f"agent-{node_id}"


def workflow_id(pipeline_id: str) -> str:
    return f"pipeline-{pipeline_id}"
