"""The graph of steps that `needs` describes."""

from collections.abc import Sequence

from gamepipe.model.spec import Step


def ancestors(steps: Sequence[Step]) -> dict[str, frozenset[str]]:
    """Names of all steps that come before each one through `needs`, transitively.

    The parser has refused cycles and unknown names.
    """
    needs = {step.name: step.needs for step in steps}
    known: dict[str, frozenset[str]] = {}
    for step in steps:
        _resolve(step.name, needs, known)
    return known


def _resolve(
    name: str, needs: dict[str, tuple[str, ...]], known: dict[str, frozenset[str]]
) -> None:
    """Depth first without recursion: a chain may be 500 steps long."""
    stack = [name]
    while stack:
        current = stack[-1]
        missing = [need for need in needs[current] if need not in known]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        above = {ancestor for need in needs[current] for ancestor in known[need]}
        known[current] = frozenset(above.union(needs[current]))
