"""Many probes of one way as one robust figure that ages.

The newest probes are kept, and their weighted median counts, so no single one decides. Of each
minute only a few are kept: a burst from one client with a bad line does not push out the others.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gamepipe.model.latency import Measured, Probe

HALF_LIFE = timedelta(days=1)
"""Routes change within days: after so long a probe counts half."""
FORGOTTEN = timedelta(days=14)
"""Nothing is left of its weight that would count."""
KEPT = 24
KEPT_OF_A_MINUTE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    at: float
    """Seconds of the Unix epoch."""
    rtt_ms: float
    count: int = 1

    @property
    def weight(self) -> float:
        """Ten round trips of one client in one minute are not ten clients."""
        return math.log2(1 + self.count)


def faded(age_seconds: float) -> float:
    """What is left of a weight, 0..1; what seems to come from the future is new."""
    return 2.0 ** (-max(age_seconds, 0.0) / HALF_LIFE.total_seconds())


def sample_of(probe: Probe) -> Sample:
    return Sample(at=probe.at.timestamp(), rtt_ms=probe.rtt_ms, count=probe.count)


def kept(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The newest, and of each minute few, those in the middle; in order of time."""
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.at // 60), []).append(sample)
    found = [sample for among in minutes.values() for sample in _middle(among)]
    return tuple(sorted(found, key=lambda one: (one.at, one.rtt_ms, one.count))[-KEPT:])


def _middle(samples: Sequence[Sample]) -> Sequence[Sample]:
    ordered = sorted(samples, key=lambda one: (one.rtt_ms, one.at, one.count))
    first = max(len(ordered) - KEPT_OF_A_MINUTE, 0) // 2
    return ordered[first : first + KEPT_OF_A_MINUTE]


def measured_by(samples: Sequence[Sample], *, in_all: int) -> Measured:
    """What the kept samples, at least one, come to at the time of the newest of them."""
    last = max(sample.at for sample in samples)
    weights = [sample.weight * faded(last - sample.at) for sample in samples]
    values = [sample.rtt_ms for sample in samples]
    median = weighted_median(values, weights)
    deviations = [abs(value - median) for value in values]
    return Measured(
        rtt_ms=median,
        jitter_ms=weighted_median(deviations, weights),
        weight=sum(weights),
        last_at=datetime.fromtimestamp(last, UTC),
        samples=in_all,
    )


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The middle of the two values between which half of the weight lies, if it is so exactly."""
    pairs = sorted(zip(values, weights, strict=True))
    half, sum_ = sum(weights) / 2, 0.0
    for place, (value, weight) in enumerate(pairs):
        sum_ += weight
        if math.isclose(sum_, half, rel_tol=1e-9) and place + 1 < len(pairs):
            return (value + pairs[place + 1][0]) / 2
        if sum_ > half:
            return value
    return pairs[-1][0]
