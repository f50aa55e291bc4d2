"""Quantiles, their bounds and the mean's, against cases that can be computed another way."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import accumulate

import pytest
from hdrh.histogram import HdrHistogram

from bench.measurement import (
    CONFIDENCE,
    STATISTICS,
    Bounded,
    Figure,
    mean_bounds,
    measured,
    quantile_bounds,
)


def exact_chances(count: int, percent: int) -> list[Fraction]:
    """P(Binomial(count, percent / 100) <= k) for each k, in whole numbers."""
    ways = (math.comb(count, k) * percent**k * (100 - percent) ** (count - k) for k in range(count + 1))
    return [Fraction(sum_so_far, 100**count) for sum_so_far in accumulate(ways)]


@pytest.mark.parametrize(("count", "percent"), [(20, 50), (100, 50), (200, 95), (700, 99), (1000, 99)])
def test_bounds_are_the_order_statistics_that_exact_fractions_give(count: int, percent: int) -> None:
    # The samples 1..n are their own ranks.
    bounded = quantile_bounds(range(1, count + 1), percent / 100, confidence=0.99)

    at_most, tail = exact_chances(count, percent), Fraction(1, 200)
    lower = max((k for k in range(1, count + 1) if at_most[k - 1] <= tail), default=0)
    upper = min((k for k in range(1, count + 1) if at_most[k - 1] >= 1 - tail), default=None)
    assert (bounded.lower, bounded.upper) == (lower, upper)


def test_a_known_table_value() -> None:
    """The 95 % interval of a median of 100 runs from the 40th to the 61st value."""
    bounded = quantile_bounds(range(1, 101), 0.5, confidence=0.95)

    assert bounded == Bounded(value=50, lower=40, upper=61)


def test_too_few_samples_give_no_upper_bound() -> None:
    """0.99 ** 527 is just above half a percent: 528 samples are the first that can bound p99."""
    assert quantile_bounds(range(527), 0.99).upper is None
    assert quantile_bounds(range(528), 0.99).upper == 527


def test_one_sample_bounds_nothing() -> None:
    assert quantile_bounds([5], 0.99) == Bounded(value=5, lower=0, upper=None)


def test_bounds_hold_as_often_as_they_promise() -> None:
    generator = random.Random(7)
    rounds, count, share = 1_000, 600, 0.95
    truth = -math.log(1 - share)
    missed = 0
    for _ in range(rounds):
        bounded = quantile_bounds(sorted(generator.expovariate(1) for _ in range(count)), share)  # type: ignore[arg-type]
        assert bounded.upper is not None
        missed += not bounded.lower <= truth <= bounded.upper

    # 1 % is promised; 25 of 1000 would be four standard deviations more.
    assert missed <= 25
    assert CONFIDENCE == 0.99


def test_large_counts_do_not_underflow() -> None:
    bounded = quantile_bounds(range(100_000), 0.999)

    assert bounded.upper is not None
    assert 99_850 < bounded.lower < bounded.value < bounded.upper < 99_950


def test_the_mean_lies_between_its_bounds_and_equal_samples_leave_no_doubt() -> None:
    assert mean_bounds([7] * 100) == Bounded(value=7, lower=7, upper=7)


def test_a_mean_that_drifts_is_bounded_more_loosely_than_one_that_does_not() -> None:
    """Shuffling the same samples hides a drift; in their own order the batches show it."""
    drifting = [1_000 + index for index in range(1_000)]
    shuffled = random.Random(1).sample(drifting, len(drifting))

    loose, tight = mean_bounds(drifting), mean_bounds(shuffled)
    assert loose.value == tight.value
    assert loose.lower < tight.lower


def test_the_mean_of_a_few_samples_is_not_bounded() -> None:
    assert mean_bounds([1] * 39) == Bounded(value=1, lower=0, upper=None)


def test_a_measurement_has_every_statistic_and_keeps_the_rows() -> None:
    measurement = measured("select_one", "sqlite", [3_000_000, 1_000_000, 2_000_000], row_count=3)

    assert tuple(measurement.statistics_ns) == STATISTICS
    assert measurement.latency_ms("max") == Bounded(value=3, lower=3, upper=None)
    assert measurement.latency_ms("p50").value == pytest.approx(2)
    assert measurement.row_count == 3


def test_the_histogram_can_be_read_by_the_library_and_holds_every_sample() -> None:
    samples = [150, 2_000_000, 2_000_000, 55_000_000_000]
    histogram = HdrHistogram.decode(measured("any", "any", samples).histogram)

    assert histogram.get_total_count() == len(samples)
    assert histogram.get_value_at_percentile(50) == pytest.approx(2_000_000, rel=1e-3)
    assert histogram.get_max_value() == pytest.approx(55_000_000_000, rel=1e-3)


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        measured("select_one", "sqlite", [])


def test_a_figure_lies_between_its_repetitions() -> None:
    assert Figure("share", "copy", "any", "x", (0.7, 0.5, 0.6)).bounded() == Bounded(0.6, 0.5, 0.7)
