"""Which attempts an order means, and which must make way for which."""

from gamepipe.model.record import AttemptKey
from gamepipe.wire import StopStep


def is_meant(order: StopStep, key: AttemptKey) -> bool:
    same = (key.pipeline_id, key.generation, key.step_index)
    return same == (order.pipeline_id, order.generation, order.step_index) and (
        order.attempt is None or order.attempt == key.attempt
    )


def gives_way(key: AttemptKey, newer: AttemptKey) -> bool:
    """Whether an attempt must be gone before `newer` starts."""
    if key.pipeline_id != newer.pipeline_id or key.generation > newer.generation:
        return False
    if key.generation < newer.generation:
        return True
    return key.step_index == newer.step_index and key.attempt < newer.attempt
