"""What all probes of one way come to."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.scheduling.probe import KEPT, Sample, kept, measured_by


def test_one_outlier_among_probes_decides_nothing() -> None:
    samples = [Sample(at=60.0 * n, rtt_ms=ms) for n, ms in enumerate((20, 21, 900, 19))]
    assert 19 <= measured_by(samples, in_all=4).rtt_ms <= 21


def test_of_one_minute_the_middle_counts_not_the_last_or_the_highest() -> None:
    minute = [Sample(at=60.0, rtt_ms=ms) for ms in (20, 21, 22, 400, 19, 500, 23)]
    assert measured_by(kept(minute), in_all=7).rtt_ms == 22


def test_a_burst_of_one_minute_does_not_push_out_the_others() -> None:
    calm = [Sample(at=60.0 * n, rtt_ms=20) for n in range(10)]
    burst = [Sample(at=601.0 + n / 100, rtt_ms=500) for n in range(100)]
    assert measured_by(kept([*calm, *burst]), in_all=110).rtt_ms == 20


def test_a_route_that_changed_is_believed_before_long() -> None:
    before = [Sample(at=60.0 * n, rtt_ms=20) for n in range(100)]
    after = [Sample(at=6000 + 60.0 * n, rtt_ms=80) for n in range(KEPT // 2 + 1)]
    assert measured_by(kept([*before, *after]), in_all=0).rtt_ms == 80


def test_many_probes_take_no_more_room_than_few() -> None:
    assert len(kept(Sample(at=60.0 * n, rtt_ms=20) for n in range(1000))) == KEPT


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Sample,
            at=st.floats(0, 1e9),
            rtt_ms=st.floats(0.1, 10_000),
            count=st.integers(1, 1000),
        ),
        min_size=1,
    )
)
def test_the_figure_of_probes_lies_among_them_in_whatever_order_they_came(
    samples: list[Sample],
) -> None:
    found = measured_by(kept(samples), in_all=len(samples))
    assert min(s.rtt_ms for s in samples) <= found.rtt_ms <= max(s.rtt_ms for s in samples)
    assert found.jitter_ms >= 0
    assert found == measured_by(kept(reversed(samples)), in_all=len(samples))
    assert kept(kept(samples)) == kept(samples)
