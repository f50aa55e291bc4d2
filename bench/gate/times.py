"""Log-ratios of times -> verdicts: pure, exact, and without an assumption about the shape of the noise.

A value is the median log-ratio of one fresh group of processes. When both sides are the same code their times
can be exchanged, so values scatter symmetrically around the true ratio, and that alone is used: bounds come
from the exact distribution of the signed-rank statistic (Hodges and Lehmann), and a single wild group moves
them by one rank.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

import numpy as np


class TimeVerdict(StrEnum):
    """What is known about one benchmark's time against the base."""

    MET = "met"
    REGRESSED = "regressed"
    UNPROVED = "unproved"


@dataclass(frozen=True)
class Thresholds:
    """What times are judged by; `thresholds.toml` says what each is for."""

    margin: float
    met_below: float
    family_alpha: float
    met_alpha: float
    looks: tuple[int, ...]
    rounds: int
    block_ms: float
    seconds_max: float
    backends: tuple[str, ...]
    operations: tuple[str, ...]

    def alpha(self, benchmarks: int) -> float:
        """Give the chance of a false alarm that one look at one benchmark may have."""
        return self.family_alpha / (max(1, benchmarks) * len(self.looks))


def read_thresholds(text: str | None = None) -> Thresholds:
    """Read the thresholds, the package's own without a text."""
    if text is None:
        text = resources.files("bench.gate").joinpath("thresholds.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)
    lists = {name: tuple(value) for name, value in entries.items() if isinstance(value, list)}
    return Thresholds(**{**entries, **lists})


@dataclass(frozen=True)
class TimeJudgement:
    """The verdict on one benchmark; ratios are head over base, 1 is no change."""

    verdict: TimeVerdict
    groups: int
    ratio: float
    lower: float | None
    upper: float | None


def judge_time(log_ratios: Sequence[float], thresholds: Thresholds, benchmarks: int) -> TimeJudgement:
    """Judge by what is there at each look in turn; the first decision stands, as it would have in a run."""
    alpha = thresholds.alpha(benchmarks)
    met_alpha = thresholds.met_alpha / len(thresholds.looks)
    latest = _judgement(TimeVerdict.UNPROVED, log_ratios, alpha, met_alpha)
    for look in looks_at(len(log_ratios), thresholds):
        seen = log_ratios[:look]
        lower, upper = lower_bound(seen, alpha), upper_bound(seen, met_alpha)
        if lower is not None and lower > math.log1p(thresholds.margin):
            return _judgement(TimeVerdict.REGRESSED, seen, alpha, met_alpha)
        if upper is not None and upper < math.log1p(thresholds.met_below):
            return _judgement(TimeVerdict.MET, seen, alpha, met_alpha)
    return latest


def is_alarmed(log_ratios: Sequence[float], thresholds: Thresholds, benchmarks: int) -> bool:
    """Tell whether two copies of the same code differ: then whatever the run found is void.

    Both directions count, so this is twice as easily alarmed as the verdict that it guards.
    """
    alpha = thresholds.alpha(benchmarks)
    for look in looks_at(len(log_ratios), thresholds):
        for signed in (list(log_ratios[:look]), [-value for value in log_ratios[:look]]):
            lower = lower_bound(signed, alpha)
            if lower is not None and lower > math.log1p(thresholds.margin):
                return True
    return False


def looks_at(groups: int, thresholds: Thresholds) -> list[int]:
    """Give the numbers of groups at which so many are judged: never more often than looks are planned.

    Where the time was up between two looks, what is there then takes the place of the looks that never came.
    """
    reached = [look for look in thresholds.looks if look <= groups]
    if 0 < len(reached) < len(thresholds.looks) and groups > reached[-1]:
        reached.append(groups)
    return reached


def _judgement(verdict: TimeVerdict, seen: Sequence[float], alpha: float, met_alpha: float) -> TimeJudgement:
    lower, upper = lower_bound(seen, alpha), upper_bound(seen, met_alpha)
    return TimeJudgement(
        verdict,
        len(seen),
        math.exp(estimate(seen)) if seen else math.nan,
        None if lower is None else math.exp(lower),
        None if upper is None else math.exp(upper),
    )


def estimate(values: Sequence[float]) -> float:
    """Give the middle of all pairs' means, which a wild value hardly moves."""
    return float(np.median(_pair_means(values)))


def lower_bound(values: Sequence[float], alpha: float) -> float | None:
    """Give what the true value is above, but for a chance of alpha; None where the values are too few."""
    needed = _critical(len(values), alpha)
    if needed is None:
        return None
    means = _pair_means(values)
    return float(means[len(means) - needed])


def upper_bound(values: Sequence[float], alpha: float) -> float | None:
    """Give what the true value is below, but for a chance of alpha; None where the values are too few."""
    mirrored = lower_bound([-value for value in values], alpha)
    return None if mirrored is None else -mirrored


def _pair_means(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    given = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(given))
    return np.sort((given[first] + given[second]) / 2)


@cache
def _critical(count: int, alpha: float) -> int | None:
    """Give the least rank sum that chance reaches with at most alpha; None where not even the most does."""
    if count == 0:
        return None
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, count + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    at_least = np.cumsum(ways[::-1])[::-1] / 2.0**count
    enough = np.flatnonzero(at_least <= alpha)
    return int(enough[0]) if len(enough) else None
