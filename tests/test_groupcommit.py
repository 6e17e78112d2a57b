"""Work of many callers in one transaction."""

import asyncio
from collections.abc import Sequence

import pytest

from gamepipe.groupcommit import GroupCommit
from gamepipe.model.errors import StoreUnavailable


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
