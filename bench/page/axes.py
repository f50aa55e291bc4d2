"""Axes: where a value stands on paper, which ticks an axis carries, and how a quantity is written; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LOG_RATIO = 15.0
"""An axis whose largest value is this many times its smallest is logarithmic: less fits a linear one."""

RATIO_MAX = 1e13
"""From a nanosecond to an hour is less; what is smaller still is drawn at the edge."""

HALF_DECADES = 2.6
"""Up to so many decades there is room for ticks at 2 and 5 between the powers of ten."""


@dataclass(frozen=True)
class Axis:
    """Maps values from `least` to `most` onto positions from `start` to `end`; the rest is held in."""

    least: float
    most: float
    start: float
    end: float
    is_log: bool
    unit: str

    def at(self, value: float) -> float:
        """Give the position of a value."""
        if self.is_log:
            share = _log(max(value, self.least) / self.least) / _log(self.most / self.least)
        else:
            share = (value - self.least) / (self.most - self.least)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Give the values that carry a tick, each with what is written at it."""
        values = _log_ticks(self.least, self.most) if self.is_log else _linear_ticks(self.least, self.most)
        return tuple((value, quantity(value, self.unit)) for value in values)


def fitted_axis(
    values: Iterable[float], start: float, end: float, unit: str, *, is_log: bool | None = None
) -> Axis:
    """Give an axis that shows all these values, linear from zero or logarithmic as they need."""
    shown = [value for value in values if math.isfinite(value)]
    positive = [value for value in shown if value > 0]
    if is_log is None:
        is_log = bool(positive) and max(positive) / min(positive) > LOG_RATIO
    if is_log and positive:
        most = _fine_ceiling(max(positive))
        least = _fine_floor(max(min(positive), most / RATIO_MAX))
        return Axis(least, most if most > least else least * 10, start, end, is_log=True, unit=unit)
    most = max(shown, default=1.0)
    least = min(0.0, min(shown, default=0.0))
    return Axis(least, most * 1.05 if most > least else least + 1, start, end, is_log=False, unit=unit)


def quantity(value: float, unit: str) -> str:
    """Write a value with its unit, as short as an axis wants it: 200 µs, 5 ms, 1.5 s, 40 k rows/s."""
    if unit == "ms":
        for limit_ms, factor, name in ((1.0, 1e3, "µs"), (1e3, 1.0, "ms")):
            if value == 0:
                return "0 ms"
            if abs(value) < limit_ms * (1 - 1e-9):
                return f"{value * factor:.3g} {name}"
        return f"{value / 1e3:.3g} s"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M {unit}"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g} k {unit}"
    return f"{value:.4g} {unit}" if unit else f"{value:.4g}"


def _log(value: float) -> float:
    return math.log10(value)


def _fine_floor(value: float) -> float:
    """Give the largest of 1, 2 and 5 times a power of ten that is not above the value."""
    power = 10.0 ** math.floor(_log(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def _fine_ceiling(value: float) -> float:
    """Give the smallest of 1, 2, 5 and 10 times a power of ten that is not below the value."""
    power = 10.0 ** math.floor(_log(value))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _log_ticks(least: float, most: float) -> list[float]:
    steps = (1, 2, 5) if _log(most / least) <= HALF_DECADES else (1,)
    exponents = range(math.floor(_log(least)), math.ceil(_log(most)) + 1)
    values = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [value for value in values if least * (1 - 1e-9) <= value <= most * (1 + 1e-9)]


def _linear_ticks(least: float, most: float) -> list[float]:
    rough = (most - least) / 5
    step = _fine_ceiling(rough)
    first = math.ceil(least / step - 1e-9)
    return [number * step for number in range(first, math.floor(most / step + 1e-9) + 1)]
