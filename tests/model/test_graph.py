"""The graph of steps."""

import random

from gamepipe.model.graph import ancestors
from gamepipe.model.spec import Step


def steps(**needs: tuple[str, ...]) -> list[Step]:
    return [Step(index=n, name=name, needs=need) for n, (name, need) in enumerate(needs.items())]


def test_ancestors_are_all_steps_before_through_any_path() -> None:
    found = ancestors(steps(d=("b", "c"), b=("a",), c=("a",), a=(), alone=()))
    assert found == {
        "a": frozenset(),
        "b": {"a"},
        "c": {"a"},
        "d": {"a", "b", "c"},
        "alone": frozenset(),
    }


def test_a_long_chain_does_not_recurse() -> None:
    chain = {f"s{n}": (f"s{n + 1}",) for n in range(1999)} | {"s1999": ()}
    assert len(ancestors(steps(**chain))["s0"]) == 1999


def test_a_dense_graph_in_any_order_is_no_burden() -> None:
    names = [f"s{n}" for n in range(500)]
    needs = {name: names[:n] for n, name in enumerate(names)}
    shuffled = random.Random(1)
    order = names.copy()
    shuffled.shuffle(order)
    for above in needs.values():
        shuffled.shuffle(above)
    found = ancestors(steps(**{name: tuple(needs[name]) for name in order}))
    assert all(len(found[name]) == n for n, name in enumerate(names))
