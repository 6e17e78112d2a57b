"""The profile of the mix follows what is asked for, and stands still while that is the same."""

from itertools import cycle, islice

from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.mix import CLASSES, HALF_LIFE, Mix


def _requests(count: int, *, cpu: float = 1.0) -> list[Resources]:
    return [
        Resources(cpu=cpu, gpu=GpuRequest(share=(1 + number) / (2 * count)))
        for number in range(count)
    ]


def _learn(mix: Mix, kinds: list[Resources], count: int) -> int:
    """How many profiles the mix has had since."""
    before = mix.profile.number
    for resources in islice(cycle(kinds), count):
        mix.learn(resources)
    return mix.profile.number - before


def test_more_kinds_than_classes_of_like_weight_are_one_profile() -> None:
    mix, kinds = Mix(), _requests(CLASSES + 8)
    _learn(mix, kinds, 500)
    assert _learn(mix, kinds, 2 * HALF_LIFE) == 0
    assert len(mix.profile.resources) == CLASSES


def test_the_profile_follows_what_is_asked_for_now() -> None:
    mix, before, now = Mix(), _requests(4), _requests(4, cpu=2.0)
    _learn(mix, before, 2_000)
    assert _learn(mix, now, 10 * HALF_LIFE) > 1
    assert set(mix.profile.resources[:4]) == set(now)
    assert mix.profile.weights[:4].sum() > 0.9
