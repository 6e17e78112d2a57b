"""What collections look at."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from gamepipe.uncollected import set_aside


class _Ring:
    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_set_aside_is_looked_at_no_more_and_garbage_of_before_is_gone() -> None:
    ring = _Ring()
    gone = weakref.ref(ring)
    kept = [_Ring() for _ in range(1_000)]
    del ring
    set_aside()
    assert gone() is None, "nothing that is garbage is kept for ever"
    assert gc.get_freeze_count() >= len(kept)
    assert len(gc.get_objects()) < 1_000, "they are not among what a collection visits"


def test_what_was_set_aside_is_collected_when_it_is_done_anew() -> None:
    ring = _Ring()
    gone = weakref.ref(ring)
    set_aside()
    del ring
    gc.collect()
    assert gone() is not None
    set_aside()
    assert gone() is None
