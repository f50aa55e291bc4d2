"""When two values of two engines mean the same, by rules that share no code with the product.

One engine has dates where another has text, booleans where another has numbers. Nothing here is clever: what
is not plainly the same is not the same.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TRUTHS = dict.fromkeys(("t", "true", 1, b"\x01"), True) | dict.fromkeys(("f", "false", 0, b"\0"), False)
# Seconds, milliseconds, microseconds and nanoseconds since 1970, as microseconds.
_EPOCH_SCALES = (Decimal(10**6), Decimal(10**3), Decimal(1), Decimal("0.001"))


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, by the richer of their two types."""
    if one is None or other is None:
        return one is other
    for kind, is_same in _SAME.items():
        if isinstance(one, kind):
            return bool(is_same(one, other))
        if isinstance(other, kind):
            return bool(is_same(other, one))
    return bool(one == other)


def _same_moment(moment: dt.datetime, other: Any) -> bool:
    if isinstance(other, str):
        try:
            other = dt.datetime.fromisoformat(other)
        except ValueError:
            return False
    if isinstance(other, dt.datetime):
        return _in_utc(moment) == _in_utc(other)
    if isinstance(other, dt.date):
        return _in_utc(moment) == dt.datetime(other.year, other.month, other.day, tzinfo=dt.UTC)
    if isinstance(other, (int, float, Decimal)) and not isinstance(other, bool):
        micros = (_in_utc(moment) - _EPOCH) // dt.timedelta(microseconds=1)
        return any(micros == round(Decimal(other) * scale) for scale in _EPOCH_SCALES)
    return False


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _same_date(date: dt.date, other: Any) -> bool:
    return str(other) in (date.isoformat(), f"{date.isoformat()} 00:00:00")


def _same_time(time: dt.time | dt.timedelta, other: Any) -> bool:
    return _since_midnight(time) == _since_midnight(other)


def _since_midnight(time: Any) -> Any:
    if isinstance(time, str):
        try:
            time = dt.time.fromisoformat(time)
        except ValueError:
            return time
    if isinstance(time, dt.time):
        return dt.timedelta(
            hours=time.hour, minutes=time.minute, seconds=time.second, microseconds=time.microsecond
        )
    return time


def _same_truth(truth: bool, other: Any) -> bool:
    return _TRUTHS.get(other.lower() if isinstance(other, str) else other) is truth


def _same_decimal(number: Decimal, other: Any) -> bool:
    """Compare with another number, or with the text in which an engine without decimals keeps one."""
    try:
        read = Decimal(repr(other) if isinstance(other, float) else other)
    except (InvalidOperation, TypeError):
        return False
    return number == read or (number.is_nan() and read.is_nan())


def _same_real(number: float, other: Any) -> bool:
    if isinstance(other, float) and math.isnan(number):
        return math.isnan(other)
    if not isinstance(other, (int, float)):
        return False
    return Decimal(number) == Decimal(other) and math.copysign(1, number) == math.copysign(1, other)


def _same_text(text: str, other: Any) -> bool:
    if text == other:
        return True
    # An engine may write JSON its own way; only what cannot be taken for another text is read as such.
    if not isinstance(other, str) or text.lstrip()[:1] not in ("{", "[") or not text.strip():
        return False
    try:
        return bool(_json(text) == _json(other))
    except ValueError:
        return False


def _json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


# Richer types first; a datetime is a date, and a bool an int, so those stand before them.
_SAME: dict[type, Callable[[Any, Any], bool]] = {
    uuid.UUID: lambda one, other: str(one) == str(other),
    dt.datetime: _same_moment,
    dt.date: _same_date,
    dt.time: _same_time,
    dt.timedelta: _same_time,
    bool: _same_truth,
    Decimal: _same_decimal,
    float: _same_real,
    str: _same_text,
}
