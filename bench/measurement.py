"""What the samples of one operation say, and how sure that is: pure arithmetic, no clock and no database.

A quantile of some samples is an estimate. Its bounds here are exact: they are order statistics chosen by the
binomial distribution, so they hold for any shape of latencies, as long as the samples are alike. A budget is
judged by the bounds (see `judge`), never by the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

CONFIDENCE = 0.99
"""Of each two-sided interval: one alarm in two hundred would be false if a value sat exactly on its limit."""

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
STATISTICS = (*QUANTILES, "max", "mean")
"""What a budget may name."""

HISTOGRAM_LOWEST_NS = 1
HISTOGRAM_HIGHEST_NS = 3_600_000_000_000
HISTOGRAM_DIGITS = 3
"""One nanosecond to one hour, each value kept to one part in a thousand."""

BATCHES = 20
BATCHES_STUDENT_T = 2.861
"""Student's t for 19 degrees of freedom and the confidence above, two-sided."""


@dataclass(frozen=True)
class Bounded:
    """An estimate between the bounds that the samples allow; no upper bound when they allow none."""

    value: float
    lower: float
    upper: float | None

    def scaled(self, factor: float) -> Bounded:
        """Give the same in another unit."""
        upper = None if self.upper is None else self.upper * factor
        return Bounded(self.value * factor, self.lower * factor, upper)


@dataclass(frozen=True)
class Measurement:
    """How long one operation took on one backend.

    Attributes
    ----------
    stage
        "before" or "after" a migration, where the run has both sides of one; else empty.
    agents
        How many tasks did it, or a mix that it is part of, at the same time.
    counters
        What else was counted while it ran, by name with the unit last: late calls, the longest queue, ...
    doubt
        Why a broken budget would say nothing of the database ("other programs ..."); else empty.
    statistics_ns
        Each of `STATISTICS`, in nanoseconds.
    row_count
        Rows that the measured calls brought back: work that was optimised away or changed shows here.
    histogram
        All samples as an HDR histogram in its own compressed text form.
    group
        The heading that reports put it under: queries, search, writes, pool.
    about
        What the operation does, in a sentence.
    work
        What one round costs whatever the clock says: statements, round trips, steps. Exact.
    """

    operation: str
    backend: str
    sample_count: int
    row_count: int
    statistics_ns: Mapping[str, Bounded]
    histogram: str
    stage: str = ""
    agents: int = 1
    counters: Mapping[str, float] = field(default_factory=dict)
    doubt: str = ""
    group: str = ""
    about: str = ""
    work: Mapping[str, int] = field(default_factory=dict)

    def latency_ms(self, statistic: str) -> Bounded:
        """Give one statistic in milliseconds."""
        return self.statistics_ns[statistic].scaled(1e-6)


@dataclass(frozen=True)
class Figure:
    """A result that is not a latency: a ratio, a rate or a size, with the value of each repetition."""

    name: str
    operation: str
    backend: str
    unit: str
    repetitions: tuple[float, ...]

    def bounded(self) -> Bounded:
        """Give the median between the worst and the best repetition."""
        return Bounded(float(np.median(self.repetitions)), min(self.repetitions), max(self.repetitions))


def measured(
    operation: str, backend: str, samples_ns: Sequence[int], row_count: int = 0, **facts: Any
) -> Measurement:
    """Sum up the samples of one operation; the facts are attributes of a measurement."""
    if not samples_ns:
        raise ValueError(f"{operation} on {backend} has no samples; nothing can be said about it")
    ordered = np.sort(np.asarray(samples_ns, dtype=np.int64))
    statistics = {name: quantile_bounds(ordered.tolist(), share) for name, share in QUANTILES.items()}
    # The next sample may always be slower than the slowest, so a maximum is bounded from below only.
    slowest = float(ordered[-1])
    statistics["max"] = Bounded(slowest, slowest, None)
    statistics["mean"] = mean_bounds(samples_ns)
    histogram = histogram_of(samples_ns)
    return Measurement(operation, backend, len(samples_ns), row_count, statistics, histogram, **facts)


def quantile_bounds(ordered: Sequence[int], share: float, confidence: float = CONFIDENCE) -> Bounded:
    """Bound a quantile by two of the sorted samples, exactly, whatever the shape of the distribution.

    How many of n samples lie below the true quantile is binomial (n, share). So the chance that the true
    quantile lies below the k-th sample, or above it, is known for each k without knowing the distribution.
    Where no sample is far enough out, the bound is 0 or missing.
    """
    count = len(ordered)
    below = np.cumsum(_binomial_probabilities(count, share))
    tail = (1 - confidence) / 2
    lower_rank = int(np.searchsorted(below, tail, side="right"))
    upper_rank = int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return Bounded(
        value=float(ordered[max(0, math.ceil(share * count) - 1)]),
        lower=float(ordered[lower_rank - 1]) if lower_rank >= 1 else 0.0,
        upper=float(ordered[upper_rank - 1]) if upper_rank <= count else None,
    )


def mean_bounds(samples_ns: Sequence[int]) -> Bounded:
    """Bound the mean by the means of twenty batches in the order of measuring.

    Neighbouring latencies resemble each other, and twenty batches hardly do: the usual standard error of
    single samples would be too sure of itself. Fewer than forty samples bound nothing.
    """
    samples = np.asarray(samples_ns, dtype=np.float64)
    mean = float(samples.mean())
    if len(samples) < 2 * BATCHES:
        return Bounded(mean, 0.0, None)
    batch_means = [float(batch.mean()) for batch in np.array_split(samples, BATCHES)]
    margin = BATCHES_STUDENT_T * float(np.std(batch_means, ddof=1)) / math.sqrt(BATCHES)
    return Bounded(mean, max(0.0, mean - margin), mean + margin)


def histogram_of(samples_ns: Sequence[int]) -> str:
    """Write the samples as an HDR histogram, which other tools read too."""
    histogram = HdrHistogram(HISTOGRAM_LOWEST_NS, HISTOGRAM_HIGHEST_NS, HISTOGRAM_DIGITS)
    for sample in samples_ns:
        histogram.record_value(min(max(sample, HISTOGRAM_LOWEST_NS), HISTOGRAM_HIGHEST_NS))
    return str(histogram.encode().decode("ascii"))


def _binomial_probabilities(count: int, share: float) -> NDArray[np.float64]:
    """Give the probability of each number from 0 to count, by logarithms: large counts would underflow."""
    log_factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    hits = np.arange(count + 1)
    log_ways = log_factorials[count] - log_factorials - log_factorials[::-1]
    probabilities: NDArray[np.float64] = np.exp(
        log_ways + hits * math.log(share) + (count - hits) * math.log1p(-share)
    )
    return probabilities
