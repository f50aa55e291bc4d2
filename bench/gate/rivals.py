"""Other rules, applied to the study's own recordings, as their users would apply them; pure.

Each of them measures one version after the other, so each takes the base from the first groups and the head
from later ones. They see times as a clock tells them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench.gate.sides import SIDES, Group

LATER = 12
"""The group whose head they compare with the first group's base: about a minute later."""

PYTEST_BENCHMARK_SHARE = 0.10
MANN_WHITNEY_P = 0.05
ASV_P = 0.002
ASV_FACTOR = 1.1


def pytest_benchmark(groups: Sequence[Group]) -> bool:
    """Tell whether `--benchmark-compare-fail=median:10%` fails; one process each."""
    base, head = _samples(groups[:1], "base"), _samples(groups[LATER : LATER + 1], "head")
    return bool(np.median(head) > np.median(base) * (1 + PYTEST_BENCHMARK_SHARE))


def mann_whitney(groups: Sequence[Group]) -> bool:
    """Tell whether the head is slower with p < 0.05; one process each."""
    base, head = _samples(groups[:1], "base"), _samples(groups[LATER : LATER + 1], "head")
    return slower_p(base, head) < MANN_WHITNEY_P


def asv(groups: Sequence[Group]) -> bool:
    """Tell whether asv calls it a regression: p < 0.002 and a factor of 1.1; two processes each."""
    base, head = _samples(groups[:2], "base"), _samples(groups[LATER - 1 : LATER + 1], "head")
    return bool(np.median(head) > np.median(base) * ASV_FACTOR) and slower_p(base, head) < ASV_P


RIVALS: Mapping[str, Callable[[Sequence[Group]], bool]] = {
    "pytest-benchmark, median:10%": pytest_benchmark,
    "Mann-Whitney, p < 0.05": mann_whitney,
    "asv, p < 0.002 and factor 1.1": asv,
}


def slower_p(base: Sequence[float], head: Sequence[float]) -> float:
    """Give the two-sided p of the Mann-Whitney test where the head ranks higher; 1 where it does not."""
    both = np.concatenate([base, head])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    count_base, count_head = len(base), len(head)
    u = ranks[count_base:].sum() - count_head * (count_head + 1) / 2
    middle = count_base * count_head / 2
    deviation = math.sqrt(count_base * count_head * (count_base + count_head + 1) / 12)
    if u <= middle:
        return 1.0
    return math.erfc((u - middle - 0.5) / deviation / math.sqrt(2))


def _samples(groups: Sequence[Group], side: str) -> list[float]:
    place = 2 * SIDES.index(side)
    return [
        took / group.calls for group in groups for one in group.rounds_us for took in one[place : place + 2]
    ]
