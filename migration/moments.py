"""Turns texts and numbers into dates, times and instants, and counts every form that they come in.

Nothing is guessed: a text has one of the forms below, a number is an epoch in a unit told by its size,
and anything else has failed. Engines agree on the years 1 to 9999 and on no others, so those fail too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import NOWHERE, Converted, Positions, filled, filled_count, positions, where
from migration.model import ARROW_TYPES, Kind

DATE_FORM = r"^\d{4}-\d\d-\d\d$"
MIDNIGHT_FORM = r"^\d{4}-\d\d-\d\d[ T]00:00(:00(\.0+)?)?$"
NAIVE_FORM = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?$"
ZONED_FORM = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$"
TIME_FORM = r"^\d\d:\d\d(:\d\d(\.\d+)?)?$"

# The days of 0001-01-01 and 9999-12-31, counted from 1970-01-01.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
DAY_MICROS = 86_400_000_000
# A timestamp is a 64-bit number of microseconds; days further away have none.
FURTHEST_DAY = 2**63 // DAY_MICROS - 1

Mask: TypeAlias = npt.NDArray[np.bool_]
_NAIVE, _ZONED = pa.timestamp("us"), pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class EpochUnit:
    """A unit in which an instant is counted from 1970, and the numbers that are taken for it."""

    name: str
    low: int
    high: int
    micros: int = 1
    nanos: int = 1

    def __str__(self) -> str:
        """Name the unit."""
        return self.name


# A number in a timestamp column is an epoch in the unit that puts it between 1973 and the year 5138;
# below, it could as well be a year, a Julian day or 20250131, and is no instant at all.
EPOCH_UNITS = (
    EpochUnit("seconds", 10**8, 10**11, micros=10**6),
    EpochUnit("milliseconds", 10**11, 10**14, micros=1000),
    EpochUnit("microseconds", 10**14, 10**17),
    EpochUnit("nanoseconds", 10**17, 2**63, nanos=1000),
)


@dataclass(frozen=True)
class _Form:
    """One way in which a moment may be written: where in the array it is, and what is parsed as what."""

    name: str
    mask: pa.Array
    texts: pa.Array
    as_type: pa.DataType


def text_to_date(array: pa.Array) -> Converted:
    """Read days, and midnights, which say no more."""
    day = pc.utf8_slice_codeunits(array, 0, 10)
    return _gather(
        array,
        Kind.DATE,
        [
            _Form("date", pc.match_substring_regex(array, DATE_FORM), day, pa.date32()),
            _Form("date at midnight", pc.match_substring_regex(array, MIDNIGHT_FORM), day, pa.date32()),
        ],
    )


def text_to_time(array: pa.Array) -> Converted:
    """Read times of day."""
    texts, rounded = _cut_fraction(array)
    # Arrow reads no bare times, so each becomes that time on the first day it knows.
    on_a_day = pc.binary_join_element_wise("1970-01-01", texts, " ")
    form = _Form("time", pc.match_substring_regex(texts, TIME_FORM), on_a_day, _NAIVE)
    return _gather(array, Kind.TIME, [form], rounded)


def text_to_timestamp(array: pa.Array) -> Converted:
    """Read times without a zone; those with one become UTC, which is a change."""
    texts, rounded = _cut_fraction(array)
    zoned = pc.match_substring_regex(texts, ZONED_FORM)
    forms = [*_naive_forms(texts), _Form("text with zone, as UTC", zoned, texts, _ZONED)]
    found = _gather(array, Kind.TIMESTAMP, forms, rounded)
    changed = np.setdiff1d(positions(zoned), found.failed)
    return Converted(found.array, found.failed, changed, found.rounded, found.forms)


def text_to_instant(array: pa.Array) -> Converted:
    """Read times with a zone; those without one are read as UTC."""
    texts, rounded = _cut_fraction(array)
    zoned = _Form("text with zone", pc.match_substring_regex(texts, ZONED_FORM), texts, _ZONED)
    return _gather(array, Kind.INSTANT, [zoned, *_naive_forms(texts, ", read as UTC")], rounded)


def number_to_instant(array: pa.Array) -> Converted:
    """Read numbers as epochs, the unit told by their size; every form is counted."""
    whole = pa.types.is_integer(array.type)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
    micros = np.zeros(len(array), dtype=np.int64)
    known, lossy = np.zeros(len(array), dtype=bool), np.zeros(len(array), dtype=bool)
    forms: dict[str, int] = {}
    for unit in EPOCH_UNITS:
        mask = valid & (numbers >= unit.low) & (numbers <= unit.high - 1 if whole else numbers < unit.high)
        if mask.any():
            known |= mask
            micros[mask], lossy[mask] = _scale(numbers[mask], unit)
            forms[f"epoch {unit} ({'integer' if whole else 'real'})"] = int(mask.sum())
    instants = pa.array(micros, mask=~known).cast(ARROW_TYPES[Kind.INSTANT])
    return Converted(
        instants, failed=np.flatnonzero(valid & ~known), rounded=np.flatnonzero(lossy), forms=forms
    )


def number_to_timestamp(array: pa.Array) -> Converted:
    """Read numbers as epochs, and instants as the time in UTC, which is a change."""
    instant = number_to_instant(array)
    naive = instant.array.cast(_NAIVE)
    return Converted(naive, instant.failed, filled(naive), instant.rounded, instant.forms)


def date_to_timestamp(array: pa.Array) -> Converted:
    """Read days as their first moment."""
    days = array.view(pa.int32())
    known = pc.and_(pc.greater_equal(days, -FURTHEST_DAY), pc.less_equal(days, FURTHEST_DAY))
    return where(array, known, lambda kept: kept.cast(_NAIVE), Kind.TIMESTAMP, "date as timestamp")


def timestamp_to_instant(array: pa.Array) -> Converted:
    """Read times without a zone as UTC."""
    return Converted(array.cast(_ZONED), forms={"timestamp as instant": filled_count(array)})


def cut_times(array: pa.Array, digits: int) -> tuple[pa.Array, Positions]:
    """Round times to so many digits of a second, halves up; return where anything was lost.

    What would be rounded out of its day, or out of the calendar, is cut.
    """
    step = 10 ** (6 - digits)
    numbers = array.view(pa.int64())
    micros = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    end = DAY_MICROS if pa.types.is_time(array.type) else (LAST_DAY + 1) * DAY_MICROS
    whole = np.minimum((micros + step // 2) // step * step, end - step)
    rounded = pa.array(whole, pa.int64(), mask=~np.asarray(array.is_valid()))
    return rounded.view(array.type), np.flatnonzero(whole != micros)


def _scale(
    numbers: npt.NDArray[np.int64 | np.float64], unit: EpochUnit
) -> tuple[npt.NDArray[np.int64], Mask]:
    """Return microseconds, and where they say less than the number did."""
    if numbers.dtype == np.int64 or unit.nanos > 1:
        # So large a double has no fraction.
        whole = numbers.astype(np.int64)
        return whole * unit.micros // unit.nanos, whole % unit.nanos != 0
    micros = np.rint(numbers * unit.micros).astype(np.int64)
    # Exact when the microseconds give the same double back: what datetime.timestamp() wrote.
    return micros, micros / unit.micros != numbers


def _naive_forms(texts: pa.Array, remark: str = "") -> list[_Form]:
    naive, day = pc.match_substring_regex(texts, NAIVE_FORM), pc.match_substring_regex(texts, DATE_FORM)
    return [
        _Form(f"text without zone{remark}", naive, texts, _NAIVE),
        _Form(f"date only{remark}", day, texts, _NAIVE),
    ]


def _gather(array: pa.Array, kind: Kind, forms: list[_Form], rounded: Positions = NOWHERE) -> Converted:
    """Parse each form of text for itself, and put the results back in their places."""
    counts: dict[str, int] = {}
    results = [pa.nulls(len(array), ARROW_TYPES[kind])]
    for form in forms:
        if not pc.any(form.mask, min_count=0).as_py():
            continue
        parsed = _parse(pc.if_else(form.mask, form.texts, pa.scalar(None, pa.string())), form.as_type)
        # Naive read as UTC, or UTC written without its zone: the same microseconds either way.
        results.append(_within_the_calendar(parsed).cast(ARROW_TYPES[kind]))
        counts[form.name] = filled_count(results[-1])
    converted = pc.coalesce(*results)
    failed = np.setdiff1d(filled(array), filled(converted))
    return Converted(converted, failed=failed, rounded=np.setdiff1d(rounded, failed), forms=counts)


def _parse(texts: pa.Array, as_type: pa.DataType) -> pa.Array:
    """Cast texts, leaving null where one has the form but is no date (the 30th of February)."""
    try:
        return texts.cast(as_type)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, as_type)
        half = len(texts) // 2
        return pa.concat_arrays([_parse(texts.slice(0, half), as_type), _parse(texts.slice(half), as_type)])


def _within_the_calendar(parsed: pa.Array) -> pa.Array:
    """Leave null where the year is 0, or an offset leads out of the years 1 to 9999."""
    if pa.types.is_date(parsed.type):
        numbers, low, high = parsed.view(pa.int32()), FIRST_DAY, LAST_DAY
    else:
        numbers, low, high = parsed.view(pa.int64()), FIRST_DAY * DAY_MICROS, (LAST_DAY + 1) * DAY_MICROS - 1
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return pc.if_else(inside, parsed, pa.scalar(None, parsed.type))


def _cut_fraction(array: pa.Array) -> tuple[pa.Array, Positions]:
    """Cut fractions of a second to the six digits that engines keep; return where digits were lost."""
    long = pc.match_substring_regex(array, r"\.\d{7}")
    if not pc.any(long, min_count=0).as_py():
        return array, NOWHERE
    lost = positions(pc.match_substring_regex(array, r"\.\d{6}0*[1-9]"))
    return pc.replace_substring_regex(array, r"(\.\d{6})\d+", r"\1"), lost
