"""Work of many callers in one transaction."""

import asyncio
from collections.abc import Sequence

import pytest

from gamepipe import groupcommit
from gamepipe.groupcommit import GroupCommit
from gamepipe.model.errors import StoreUnavailable, Unavailable


class Doubling:
    """Doubles numbers, once it may; a negative one spoils what it is in."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.may_go = asyncio.Event()
        self.away = False

    async def commit(self, numbers: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(numbers))
        await self.may_go.wait()
        if self.away:
            raise StoreUnavailable("away")
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


async def test_what_comes_while_one_group_runs_shares_the_next() -> None:
    doubling = Doubling()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=3)
    first = together.add(1)
    await asyncio.sleep(0)  # lets its transaction begin
    others = [together.add(number) for number in (2, 3, 4, 5)]
    doubling.may_go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
    assert doubling.groups == [[1], [2, 3, 4], [5]]


async def test_one_bad_item_costs_nobody_else_theirs() -> None:
    doubling, reported = Doubling(), list[Exception]()
    doubling.may_go.set()
    together: GroupCommit[int, int] = GroupCommit(
        doubling.commit, at_once=9, report=reported.append
    )
    good, bad = together.add(1), together.add(-1)
    assert await good == 2
    with pytest.raises(ValueError, match="negative"):
        await bad
    assert [str(error) for error in reported] == ["negative"]


async def test_a_group_is_not_tried_apart_while_the_store_is_away() -> None:
    doubling = Doubling()
    doubling.may_go.set()
    doubling.away = True
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=9)
    found = await asyncio.gather(together.add(1), together.add(2), return_exceptions=True)
    assert all(isinstance(error, StoreUnavailable) for error in found)
    assert doubling.groups == [[1, 2]]


async def test_whoever_is_gone_before_the_transaction_takes_no_part() -> None:
    doubling = Doubling()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=9)
    gone, stays = together.add(1), together.add(2)
    gone.cancel()
    doubling.may_go.set()
    assert await stays == 4
    assert doubling.groups == [[2]]


async def test_a_group_that_fails_is_tried_in_halves() -> None:
    doubling = Doubling()
    doubling.may_go.set()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=8)
    numbers = [1, 2, 3, 4, 5, 6, 7, -8]
    found = await asyncio.gather(*map(together.add, numbers), return_exceptions=True)
    assert found[:-1] == [2, 4, 6, 8, 10, 12, 14]
    assert isinstance(found[-1], ValueError)
    assert [len(group) for group in doubling.groups] == [8, 4, 4, 2, 2, 1, 1]


def absolute(number: int) -> int:
    return abs(number)


async def test_what_failed_by_itself_goes_apart_the_next_time() -> None:
    doubling = Doubling()
    doubling.may_go.set()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=9, key=absolute)
    await asyncio.gather(together.add(1), together.add(-3), return_exceptions=True)
    doubling.groups.clear()
    numbers = (1, -3, 2, -3, 4)
    found = await asyncio.gather(*map(together.add, numbers), return_exceptions=True)
    assert [one for one in found if isinstance(one, int)] == [2, 4, 8]
    assert doubling.groups == [[1, 2, 4], [-3], [-3]]
    doubling.groups.clear()
    assert await asyncio.gather(together.add(3), together.add(1)) == [6, 2], "it is well again"
    assert doubling.groups == [[1], [3]]
    doubling.groups.clear()
    assert await asyncio.gather(together.add(3), together.add(1)) == [6, 2]
    assert doubling.groups == [[3, 1]]


async def test_those_that_fail_again_and_again_hold_the_others_up_by_one_at_a_time() -> None:
    doubling = Doubling()
    doubling.may_go.set()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=2, key=absolute)
    bad = (-7, -8, -9)
    await asyncio.gather(*map(together.add, bad), return_exceptions=True)
    doubling.groups.clear()
    numbers = (*bad, 1, 2, 3, 4)
    await asyncio.gather(*map(together.add, numbers), return_exceptions=True)
    assert doubling.groups == [[1, 2], [-7], [3, 4], [-8], [-9]]


async def test_only_so_many_of_those_that_failed_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groupcommit, "MOST_APART", 1)
    doubling = Doubling()
    doubling.may_go.set()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=9, key=absolute)
    for number in (-1, -2):
        await asyncio.gather(together.add(number), return_exceptions=True)
    doubling.groups.clear()
    assert await asyncio.gather(*map(together.add, (1, 2, 3))) == [2, 4, 6]
    assert doubling.groups == [[1, 3], [2]]


async def test_too_few_results_are_an_error_of_everyone_in_the_group() -> None:
    async def commit(numbers: Sequence[int]) -> Sequence[int]:
        return numbers[1:]

    reported = list[Exception]()
    together: GroupCommit[int, int] = GroupCommit(commit, at_once=9, report=reported.append)
    found = await asyncio.gather(together.add(1), together.add(2), return_exceptions=True)
    assert [str(error) for error in found] == ["2 items were answered with 1 results"] * 2
    assert len(reported) == 1


async def test_nobody_waits_for_a_drain_that_was_cancelled() -> None:
    doubling = Doubling()
    together: GroupCommit[int, int] = GroupCommit(doubling.commit, at_once=1)
    first, second = together.add(1), together.add(2)
    await asyncio.sleep(0)  # lets its transaction begin
    assert together._draining is not None
    together._draining.cancel()
    found = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(error, Unavailable) for error in found)
    doubling.may_go.set()
    assert await together.add(3) == 6
