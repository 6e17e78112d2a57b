"""Handing things on from holder to holder: nobody's are shared, and no fewer would do."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model.chain import divide


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """(wants, before) of a partial order of up to 8 holders."""
    size = draw(st.integers(0, 8))
    wants = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    before: list[int] = []
    for place in range(size):
        mask = 0
        for earlier in draw(st.sets(st.integers(0, max(place - 1, 0)), max_size=place)):
            mask |= 1 << earlier | before[earlier]
        before.append(mask)
    return wants, before


def most_beside_each_other(wants: list[int], before: list[int]) -> int:
    """The weight of the heaviest set in which nobody may take over from another."""
    best = 0
    for size in range(1, len(wants) + 1):
        for some in combinations(range(len(wants)), size):
            if not any(before[later] >> earlier & 1 for earlier, later in combinations(some, 2)):
                best = max(best, sum(wants[holder] for holder in some))
    return best


@settings(max_examples=300, deadline=None)
@given(orders())
def test_everyone_gets_what_they_want_with_as_few_as_possible(
    order: tuple[list[int], list[int]],
) -> None:
    wants, before = order
    held = divide(wants, before)
    assert [len(set(numbers)) for numbers in held] == wants
    for earlier, later in combinations(range(len(wants)), 2):
        if set(held[earlier]) & set(held[later]):
            assert before[later] >> earlier & 1
    used = {number for numbers in held for number in numbers}
    assert used == set(range(most_beside_each_other(wants, before)))


def test_a_long_and_dense_order_is_divided_quickly() -> None:
    held = divide([64] * 500, [(1 << place) - 1 for place in range(500)])
    assert set(held) == {tuple(range(64))}
