"""The graph of steps that `needs` describes."""

from collections.abc import Sequence

from gamepipe.model.spec import Step


def ancestors(steps: Sequence[Step]) -> dict[str, frozenset[str]]:
    """Names of all steps that come before each one through `needs`, transitively.

    The parser has refused cycles and unknown names.
    """
    needs = {step.name: step.needs for step in steps}
    bits = {step.name: 1 << number for number, step in enumerate(steps)}
    known: dict[str, int] = {}
    for step in steps:
        _resolve(step.name, needs, bits, known)
    return {
        name: frozenset(other for other, bit in bits.items() if mask & bit)
        for name, mask in known.items()
    }


def _resolve(
    name: str, needs: dict[str, tuple[str, ...]], bits: dict[str, int], known: dict[str, int]
) -> None:
    """Depth first without recursion: a chain may be 500 steps long, and a graph dense.

    A set of steps is a number with a bit for each, so that joining two costs next to nothing.
    """
    stack = [name]
    while stack:
        current = stack[-1]
        missing = [need for need in needs[current] if need not in known]
        if missing and current not in known:
            stack.extend(missing)
            continue
        stack.pop()
        if current not in known:
            known[current] = 0
            for need in needs[current]:
                known[current] |= known[need] | bits[need]
