"""Every value becomes what is wanted exactly, or is reported; nothing raises, whatever was stored.

The oracle reads each value for itself in plain Python, with none of the code under test.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration.conversion import Converted
from migration.limits import holds_nul, invalid_text, unfit
from migration.model import ARROW_TYPES, STORAGE, Column, Kind
from migration.moments import EPOCH_UNITS
from migration.spelling import exact_at, normal_decimals, normal_json, repeated_keys, show, show_at
from migration.values import STORAGE_CLASSES, as_storage, convert, storage_class, storage_counts

KINDS = [kind for kind in Kind if kind is not Kind.ANY]
TYPES = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary()}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FAILED = "failed"


class Text(bytes):
    """A text as its bytes, which need not be UTF-8."""


def array_of(values: list[Any], storage: str) -> pa.Array:
    """Build an array of one storage class; texts from any bytes, as a driver that does not look would."""
    if storage != "text":
        return pa.array(values, TYPES[storage])
    raw = pa.array([None if value is None else bytes(value) for value in values], pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count, raw.offset)


def struct_of(values: list[Any]) -> pa.StructArray:
    """Build a struct of storage classes from values of any of them."""
    fields = [
        array_of([value if class_of(value) == name else None for value in values], name)
        for name in STORAGE_CLASSES
    ]
    return pa.StructArray.from_arrays(fields, names=list(STORAGE_CLASSES))


def class_of(value: Any) -> str:
    if isinstance(value, Text):
        return "text"
    names = {int: "integer", float: "real", bytes: "blob", type(None): "null"}
    return names[type(value)]


# --- the oracle -------------------------------------------------------------------------------------


def oracle(value: Any, kind: Kind) -> tuple[Any, set[str]]:
    """Say what a stored value is as a kind, and which of changed and rounded hold; or FAILED."""
    if isinstance(value, Text):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return FAILED, set()
        return of_text(text, kind)
    return {int: of_integer, float: of_real, bytes: of_blob}[type(value)](value, kind)


def of_blob(value: bytes, kind: Kind) -> tuple[Any, set[str]]:
    return (value, set()) if kind is Kind.BYTES else (FAILED, set())


def of_integer(value: int, kind: Kind) -> tuple[Any, set[str]]:
    exact: dict[Kind, Any] = {
        Kind.INTEGER: value,
        Kind.BOOLEAN: bool(value) if value in (0, 1) else FAILED,
        Kind.DECIMAL: decimal.Decimal(value),
        Kind.FLOAT: float(value) if abs(value) <= 2**53 else FAILED,
        Kind.JSON: decimal.Decimal(value),
    }
    if kind is Kind.TEXT:
        return str(value), {"changed"}
    if kind in (Kind.INSTANT, Kind.TIMESTAMP):
        for low, high, micros, nanos in (
            (10**8, 10**11, 10**6, 1),
            (10**11, 10**14, 1000, 1),
            (10**14, 10**17, 1, 1),
            (10**17, 2**63, 1, 1000),
        ):
            if low <= value < high:
                flags = {"rounded"} if value % nanos else set()
                return value * micros // nanos, flags | ({"changed"} if kind is Kind.TIMESTAMP else set())
    return exact.get(kind, FAILED), set()


def of_real(value: float, kind: Kind) -> tuple[Any, set[str]]:
    is_signed_zero = value == 0 and math.copysign(1, value) < 0
    if kind is Kind.FLOAT:
        return value, set()
    if kind is Kind.INTEGER:
        whole = math.isfinite(value) and value == int(value) and abs(value) <= 2**53 and not is_signed_zero
        return (int(value) if whole else FAILED), set()
    if kind is Kind.DECIMAL:
        return (FAILED if is_signed_zero else decimal.Decimal(repr(value))), set()
    if kind is Kind.TEXT:
        return value, {"changed"}
    if kind is Kind.JSON:
        return (decimal.Decimal(repr(value)) if math.isfinite(value) else FAILED), set()
    if kind in (Kind.INSTANT, Kind.TIMESTAMP):
        return of_real_epoch(value, {"changed"} if kind is Kind.TIMESTAMP else set())
    return FAILED, set()


def of_real_epoch(value: float, flags: set[str]) -> tuple[Any, set[str]]:
    for low, high, micros in ((1e8, 1e11, 10**6), (1e11, 1e14, 1000), (1e14, 1e17, 1)):
        if low <= value < high:
            found = round(value * micros)
            return found, flags | (set() if found / micros == value else {"rounded"})
    if 1e17 <= value < 2.0**63:
        return int(value) // 1000, flags | ({"rounded"} if int(value) % 1000 else set())
    return FAILED, set()


def of_text(text: str, kind: Kind) -> tuple[Any, set[str]]:
    readers: dict[Kind, Callable[[str], tuple[Any, set[str]]]] = {
        Kind.TEXT: lambda text: (text, set()),
        Kind.BYTES: lambda text: (text.encode(), {"changed"}),
        Kind.BOOLEAN: lambda text: (
            {"t": True, "true": True, "f": False, "false": False}.get(text.lower(), FAILED),
            set(),
        ),
        Kind.DECIMAL: text_as_decimal,
        Kind.JSON: text_as_json,
        Kind.DATE: text_as_date,
        Kind.TIME: text_as_time,
        Kind.TIMESTAMP: lambda text: text_as_moment(text, zone_changes=True),
        Kind.INSTANT: lambda text: text_as_moment(text, zone_changes=False),
    }
    return readers[kind](text) if kind in readers else (FAILED, set())


def text_as_decimal(text: str) -> tuple[Any, set[str]]:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?|NaN|-?Infinity", text):
        return FAILED, set()
    loses = re.match(r"-?0[0-9]", text) or (
        text.startswith("-") and decimal.Decimal(text) == 0 and text[1] == "0"
    )
    only_zeros = text.startswith("-") and not text.strip("-0.")
    return decimal.Decimal(text), {"changed"} if loses or only_zeros else set()


def text_as_json(text: str) -> tuple[Any, set[str]]:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return FAILED, set()
    return text, set()


DAY = r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
CLOCK = r"(?P<clock>[0-9]{2}:[0-9]{2}(:[0-9]{2})?)(\.(?P<fraction>[0-9]+))?"


def text_as_date(text: str) -> tuple[Any, set[str]]:
    match = re.fullmatch(DAY + r"([ T]00:00(:00(\.0+)?)?)?", text)
    if not match:
        return FAILED, set()
    try:
        return dt.date.fromisoformat(match["day"]), set()
    except ValueError:
        return FAILED, set()


def clock_of(match: re.Match[str]) -> tuple[int, bool]:
    """Return the microseconds since midnight, and whether digits were lost; ValueError for no time."""
    if match["fraction"] and match["clock"].count(":") < 2:
        raise ValueError("a fraction of a minute")
    time = dt.time.fromisoformat(match["clock"])
    fraction = match["fraction"] or ""
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return (time.hour * 3600 + time.minute * 60 + time.second) * 10**6 + micros, bool(fraction[6:].strip("0"))


def text_as_time(text: str) -> tuple[Any, set[str]]:
    match = re.fullmatch(CLOCK, text)
    try:
        micros, lossy = clock_of(match) if match else (FAILED, False)
    except ValueError:
        return FAILED, set()
    return micros, {"rounded"} if lossy else set()


def text_as_moment(text: str, *, zone_changes: bool) -> tuple[Any, set[str]]:
    zone = r"(?P<zone>Z|(?P<sign>[+-])(?P<hours>[0-9]{2})(:?(?P<minutes>[0-9]{2}))?)?"
    match = re.fullmatch(rf"{DAY}([ T]{CLOCK}{zone})?", text)
    if not match:
        return FAILED, set()
    try:
        day = dt.date.fromisoformat(match["day"])
        micros, lossy = clock_of(match) if match["clock"] else (0, False)
    except ValueError:
        return FAILED, set()
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hours > 23 or minutes > 59:
        return FAILED, set()
    offset = (hours * 60 + minutes) * 60 * 10**6 * (-1 if match["sign"] == "-" else 1)
    total = (day.toordinal() - EPOCH.toordinal()) * 86_400 * 10**6 + micros - offset
    first = (dt.date.min.toordinal() - EPOCH.toordinal()) * 86_400 * 10**6
    last = (dt.date.max.toordinal() + 1 - EPOCH.toordinal()) * 86_400 * 10**6 - 1
    if not first <= total <= last:
        return FAILED, set()
    flags = {"rounded"} if lossy else set()
    return total, flags | ({"changed"} if match["zone"] and zone_changes else set())


def plain(array: pa.Array, kind: Kind) -> list[Any]:
    """Return a converted array in the oracle's terms."""
    if kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT):
        return array.view(pa.int64()).to_pylist()
    values = array.to_pylist()
    if kind is Kind.DECIMAL:
        return [None if value is None else decimal.Decimal(value) for value in values]
    return values


def same(found: Any, expected: Any, kind: Kind) -> bool:
    if isinstance(expected, float):
        return struct.pack("d", float(found)) == struct.pack("d", expected) or (
            math.isnan(float(found)) and math.isnan(expected)
        )
    if isinstance(expected, decimal.Decimal):
        as_decimal = decimal.Decimal(found)
        return as_decimal == expected or (as_decimal.is_nan() and expected.is_nan())
    return type(found) is type(expected) and bool(found == expected)


def assert_as_the_oracle_says(found: Converted, values: list[Any], kind: Kind) -> None:
    assert found.array.type == ARROW_TYPES[kind]
    assert len(found.array) == len(values)
    flags = {name: set(getattr(found, name).tolist()) for name in ("failed", "changed", "rounded")}
    for position, (value, arrived) in enumerate(zip(values, plain(found.array, kind), strict=True)):
        expected, expected_flags = (None, set()) if value is None else oracle(value, kind)
        told = {name for name, positions in flags.items() if position in positions}
        if expected is FAILED:
            assert (arrived, told) == (None, {"failed"}), (value, kind)
        elif expected is None:
            assert (arrived, told) == (None, set()), (value, kind)
        else:
            assert told == expected_flags, (value, kind)
            assert same(arrived, expected, kind), (value, kind, arrived, expected)


# --- what is stored ---------------------------------------------------------------------------------

INTEGERS = [0, 1, 2, -1, 7, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 20250131]
EDGES = [edge for unit in EPOCH_UNITS for edge in (unit.low - 1, unit.low, unit.low + 1, unit.high - 1)]
REALS = [0.0, -0.0, 1.0, -1.0, 0.1, 1.5, 2.0**53, 2.0**53 + 2, 1e16, 1e300, 5e-324, 2.2e-308, 1e-7]
REALS += [
    math.nan,
    math.inf,
    -math.inf,
    1.7e9,
    1700000000.1234567,
    1700000000.123456,
    1.7e12 + 0.25,
    1.7e15 + 0.5,
]
REALS += [1.7e18, 1.7e18 + 256, 9.2e18, 9.3e18, 123456789.123, *map(float, EDGES)]
WORDS = "x Alice true TRUE t F false yes inf null |"
NUMBERS = (
    "0 1 -1 +1 .5 5. 1.50 007 -0 -0.0 -0.00 0.0 -007.5 1e5 NaN Infinity -Infinity 1700000000 \u0664\u0662"
)
NUMBERS += " 12345678901234567890123456789012345678.90"
DAYS = "2024-02-29 2023-02-30 2023-02-29 0000-00-00 0000-01-01 0001-01-01 9999-12-31 2024-13-01 2024-1-1"
TIMES = "24:00 23:59 23:59:59.999999 23:59:60 12:00:00.1234567 12:00:00.1234560 12:00.5 12:00:00. 1:00"
MOMENTS = """
2024-01-01 00:00
2024-01-01T00:00:00
2024-01-01 00:00:00.000
2024-01-01 00:00:00.0001
2024-01-01 00:01
2024-01-01 24:00:00
2024-01-01 12:34:56
2024-01-01T12:34:56Z
2024-01-01 12:34:56+00
2024-01-01 12:34:56+02:00
2024-01-01 12:34:56-0330
2024-01-01 12:34:56+24:00
2024-01-01 12:34:56+23:59
2024-01-01 12:34:56+01:60
0000-12-31 23:59:59
0001-01-01 00:00:00
0001-01-01 00:00:00+14:00
9999-12-31 23:59:59.999999
9999-12-31 23:59:59-14:00
9999-12-31T23:59:59.9999999Z
2024-01-01 12:34:56.1
2024-01-01 12:34:56.123456789
2024-01-01 12:34:56.123456789012
2024-01-01 12:34:56.123456000+01
2024-01-01 12:34:56.1234561Z
2024-01-01t12:34:56z
2024-01-01 12:34:56 UTC
"""
JSON_TEXTS = [
    '{"a": 1}',
    '{"b": 1.0, "a": [1e2]}',
    "[",
    '"x"',
    "true ",
    "nul",
    "1 ",
    r'"\u0000"',
    r'"\ud800"',
]
OTHER_TEXTS = [
    "",
    "a\0b",
    "\0",
    "1\n",
    "\n1",
    "2024-01-01\n",
    " 1",
    "cafe\u0301",
    "\U0001f469\u200d\U0001f680",
]
OTHER_TEXTS += ["\U0010ffff", "Infinity\n", "a" * 100]
TEXTS = [
    *f"{WORDS} {NUMBERS} {DAYS} {TIMES}".split(" "),
    *MOMENTS.strip().split("\n"),
    *JSON_TEXTS,
    *OTHER_TEXTS,
]
STORED: dict[str, list[Any]] = {
    "integer": [None, *INTEGERS, *EDGES],
    "real": [None, *REALS],
    "text": [
        None,
        *[Text(text.encode()) for text in TEXTS],
        *[Text(raw) for raw in (b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"a\xf0\x9f")],
    ],
    "blob": [None, b"", b"\0", b"\xff\xfe", b"text", b"1"],
}
ALL_VALUES = [value for values in STORED.values() for value in values]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("storage", TYPES)
def test_each_value_becomes_the_kind_or_is_reported(storage: str, kind: Kind) -> None:
    values = STORED[storage]
    assert_as_the_oracle_says(convert(array_of(values, storage), Kind.ANY, kind), values, kind)
    for value in values:  # alone, too: what stands beside a value must not matter
        assert_as_the_oracle_says(convert(array_of([value], storage), Kind.ANY, kind), [value], kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_classes_mixed_in_one_column_do_not_disturb_each_other(kind: Kind) -> None:
    assert_as_the_oracle_says(convert(struct_of(ALL_VALUES), Kind.ANY, kind), ALL_VALUES, kind)


def epochs() -> st.SearchStrategy[int]:
    powers = st.integers(0, 18).map(lambda exponent: 10**exponent)
    return st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1) | powers


def moments() -> st.SearchStrategy[str]:
    digits = st.text("0123456789", max_size=12).map(lambda text: f".{text}" if text else "")
    days = st.dates().map(str) | st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]", fullmatch=True)
    clocks = st.times().map(lambda time: time.strftime("%H:%M:%S"))
    clocks |= st.from_regex(r"[012][0-9]:[0-6][0-9](:[0-6][0-9])?", fullmatch=True)
    zones = st.sampled_from(["", "Z"]) | st.from_regex(r"[+-][0-2][0-9](:?[0-6][0-9])?", fullmatch=True)
    times = st.tuples(clocks, digits).map("".join)
    whole = st.tuples(days, st.sampled_from(" T"), times, zones).map("".join)
    return days | times | whole


def texts() -> st.SearchStrategy[Text]:
    numbers = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True)
    known = st.text() | numbers | moments() | st.sampled_from(TEXTS)
    return known.map(lambda text: Text(text.encode())) | st.binary().map(Text)


OF_CLASS: dict[str, st.SearchStrategy[Any]] = {
    "integer": epochs(),
    "real": st.floats() | st.floats(1e8, 1e19),
    "text": texts(),
    "blob": st.binary(max_size=3),
}
VALUES = st.none() | st.one_of(*OF_CLASS.values())


@given(st.lists(VALUES, max_size=12), st.sampled_from(KINDS), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=400)
def test_any_values_become_the_kind_or_are_reported_also_within_a_slice(
    values: list[Any], kind: Kind, before: int, after: int
) -> None:
    count = max(len(values) - after - before, 0)
    batch = pa.RecordBatch.from_arrays([struct_of(values)], names=["0"])
    sliced = batch.slice(min(before, len(values)), count).column(0)
    assert_as_the_oracle_says(convert(sliced, Kind.ANY, kind), values[before : before + count], kind)


@given(st.data(), st.sampled_from(sorted(TYPES)), st.sampled_from(KINDS))
@settings(max_examples=400)
def test_any_values_of_one_class_become_the_kind_or_are_reported_also_within_a_slice(
    data: st.DataObject, storage: str, kind: Kind
) -> None:
    values = data.draw(st.lists(st.none() | OF_CLASS[storage], max_size=8))
    start = data.draw(st.integers(0, len(values)))
    found = convert(array_of(values, storage).slice(start), Kind.ANY, kind)
    assert_as_the_oracle_says(found, values[start:], kind)


@given(
    st.lists(moments() | epochs(), max_size=10),
    st.sampled_from([Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT]),
)
@settings(max_examples=300)
@example(["2024-02-30", "2024-02-29"], Kind.DATE)
def test_the_forms_count_every_value_that_arrives(found: list[Any], kind: Kind) -> None:
    values = [value if isinstance(value, int) else Text(value.encode()) for value in found]
    converted = convert(struct_of(values), Kind.ANY, kind)
    assert sum(converted.forms.values()) == len(values) - len(converted.failed)


def test_canary_the_oracle_notices_a_wrong_value_and_a_wrong_report() -> None:
    right = convert(pa.array([1, 2]), Kind.ANY, Kind.DECIMAL)
    with pytest.raises(AssertionError):
        assert_as_the_oracle_says(Converted(pa.array(["1", "3"])), [1, 2], Kind.DECIMAL)
    with pytest.raises(AssertionError):
        assert_as_the_oracle_says(Converted(right.array, changed=np.array([0])), [1, 2], Kind.DECIMAL)
    with pytest.raises(AssertionError):
        assert_as_the_oracle_says(Converted(pa.array([0.0])), [-0.0], Kind.FLOAT)


# --- forms ------------------------------------------------------------------------------------------


def test_every_form_of_an_instant_is_named_and_counted() -> None:
    values = [
        Text(b"2024-01-01 00:00:00"),
        Text(b"2024-01-01"),
        Text(b"2024-01-01T00:00:00Z"),
        1_700_000_000,
        1_700_000_000_000,
        1_700_000_000_000_000,
        1_700_000_000_000_000_000,
        1_700_000_000.5,
    ]
    assert convert(struct_of(values), Kind.ANY, Kind.INSTANT).forms == {
        "text without zone, read as UTC": 1,
        "date only, read as UTC": 1,
        "text with zone": 1,
        "epoch seconds (integer)": 1,
        "epoch milliseconds (integer)": 1,
        "epoch microseconds (integer)": 1,
        "epoch nanoseconds (integer)": 1,
        "epoch seconds (real)": 1,
    }


def test_a_number_at_the_end_of_a_unit_is_read_in_the_unit_that_is_counted() -> None:
    """As a double, 10**17 - 1 is 10**17, which is another unit."""
    found = convert(pa.array([10**17 - 1]), Kind.ANY, Kind.INSTANT)
    assert found.forms == {"epoch microseconds (integer)": 1}
    assert found.array.view(pa.int64()).to_pylist() == [10**17 - 1]


@pytest.mark.parametrize(
    ("values", "kind", "forms"),
    [
        ([0, 1, None], Kind.BOOLEAN, {"0 or 1": 2}),
        ([Text(b"t"), Text(b"nope")], Kind.BOOLEAN, {"true or false in words": 1}),
        ([Text(b"1.5")], Kind.DECIMAL, {"decimal in text": 1}),
        ([Text(b"2024-01-01"), Text(b"2024-01-01 00:00")], Kind.DATE, {"date": 1, "date at midnight": 1}),
        ([Text(b"12:00")], Kind.TIME, {"time": 1}),
        (
            [Text(b"2024-01-01 12:00"), Text(b"2024-01-01"), Text(b"2024-01-01 12:00Z")],
            Kind.TIMESTAMP,
            {"text without zone": 1, "date only": 1, "text with zone, as UTC": 1},
        ),
    ],
)
def test_the_forms_of_the_other_kinds_are_named(values: list[Any], kind: Kind, forms: dict[str, int]) -> None:
    assert convert(struct_of(values), Kind.ANY, kind).forms == forms


# --- from canonical kinds ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_an_array_of_the_kind_wanted_stays_itself(kind: Kind) -> None:
    array = pa.nulls(3, ARROW_TYPES[kind])
    assert convert(array, kind, kind).array.equals(array)


@pytest.mark.parametrize("own", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_nothing_and_nulls_become_any_kind(own: Kind, kind: Kind) -> None:
    for length in (0, 2):
        found = convert(pa.nulls(length, ARROW_TYPES[own]), own, kind)
        assert found.array.equals(pa.nulls(length, ARROW_TYPES[kind]))
        assert len(found.failed) == len(found.changed) == len(found.rounded) == 0


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "-1", "1.0", "1.5", "NaN", "Infinity"], Kind.INTEGER, [1, -1, 1, None, None, None]),
        (
            [str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1)],
            Kind.INTEGER,
            [2**63 - 1, None, -(2**63), None],
        ),
        (["9223372036854775807.0000000000000000000001", None], Kind.INTEGER, [None, None]),
        (["0.1", "0.10", "1e400", str(2**53 + 1)], Kind.FLOAT, [0.1, 0.1, None, None]),
        (["Infinity", "-Infinity"], Kind.FLOAT, [math.inf, -math.inf]),
    ],
)
def test_a_decimal_becomes_a_number_only_where_that_gives_it_back(
    values: list[str | None], kind: Kind, expected: list[Any]
) -> None:
    found = convert(pa.array(values), Kind.DECIMAL, kind)
    assert found.array.to_pylist() == expected
    assert found.failed.tolist() == [
        at
        for at, (value, new) in enumerate(zip(values, expected, strict=True))
        if value is not None and new is None
    ]


def test_not_a_number_stays_not_a_number() -> None:
    (value,) = convert(pa.array(["NaN"]), Kind.DECIMAL, Kind.FLOAT).array.to_pylist()
    assert math.isnan(value)


def test_days_become_moments_and_moments_instants() -> None:
    day = pa.array([dt.date(2024, 1, 2), None])
    moment = convert(day, Kind.DATE, Kind.TIMESTAMP)
    assert moment.array.to_pylist() == [dt.datetime(2024, 1, 2), None]  # noqa: DTZ001
    assert moment.forms == {"date as timestamp": 1}
    instant = convert(moment.array, Kind.TIMESTAMP, Kind.INSTANT)
    assert instant.array.to_pylist() == [dt.datetime(2024, 1, 2, tzinfo=dt.UTC), None]
    assert instant.forms == {"timestamp as instant": 1}


def test_a_day_too_far_away_to_have_microseconds_is_reported() -> None:
    found = convert(
        pa.array([0, 2**31 - 1, -(2**31)], pa.int32()).view(pa.date32()), Kind.DATE, Kind.TIMESTAMP
    )
    assert found.failed.tolist() == [1, 2]


def test_a_kind_that_has_no_way_into_another_fails_by_the_value() -> None:
    found = convert(pa.array([dt.date(2024, 1, 1), None]), Kind.DATE, Kind.TEXT)
    assert (found.array.to_pylist(), found.failed.tolist()) == ([None, None], [0])


@pytest.mark.parametrize(
    ("array", "own", "kind", "expected"),
    [
        (pa.array([True, False, None]), Kind.BOOLEAN, Kind.INTEGER, [1, 0, None]),
        (pa.array([True]), Kind.BOOLEAN, Kind.DECIMAL, ["1"]),
        (pa.array(["{}", None]), Kind.JSON, Kind.TEXT, ["{}", None]),
        (pa.array(["1", "["]), Kind.TEXT, Kind.JSON, ["1", None]),
        (pa.array([b"x"]), Kind.BYTES, Kind.TEXT, [None]),
    ],
)
def test_a_kind_that_a_storage_class_holds_goes_its_way(
    array: pa.Array, own: Kind, kind: Kind, expected: list[Any]
) -> None:
    assert convert(array, own, kind).array.to_pylist() == expected


# --- storage classes --------------------------------------------------------------------------------


@given(st.lists(VALUES, max_size=8), st.integers(0, 3))
def test_any_value_keeps_its_class_where_anything_may_be_held(values: list[Any], start: int) -> None:
    stored = convert(struct_of(values).slice(start), Kind.ANY, Kind.ANY).array
    assert stored.type == STORAGE
    for position, value in enumerate(values[start:]):
        fields = {name: stored.field(i)[position] for i, name in enumerate(STORAGE_CLASSES)}
        assert [name for name, field in fields.items() if field.is_valid] == [class_of(value)] * (
            value is not None
        )
    counts = dict.fromkeys((*STORAGE_CLASSES, "null"), 0)
    for value in values[start:]:
        counts[class_of(value)] += 1
    assert storage_counts(struct_of(values).slice(start)) == {name: n for name, n in counts.items() if n}


def test_an_array_of_one_class_becomes_a_struct_with_that_field() -> None:
    stored = as_storage(pa.array(["a", None]), Kind.TEXT)
    assert stored.to_pylist() == [
        {"integer": None, "real": None, "text": "a", "blob": None},
        {"integer": None, "real": None, "text": None, "blob": None},
    ]
    assert as_storage(pa.array([True]), Kind.BOOLEAN).field(0).to_pylist() == [1]
    assert storage_class(pa.array([b""])) == "blob"


@pytest.mark.parametrize("own", [Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT])
def test_a_kind_without_a_storage_class_says_so(own: Kind) -> None:
    with pytest.raises(TypeError, match=f"{own.value} has no storage class"):
        as_storage(pa.nulls(1, ARROW_TYPES[own]), own)


def test_an_array_of_another_type_is_counted_under_its_name() -> None:
    assert storage_counts(pa.array([dt.date(2024, 1, 1), None])) == {"date32[day]": 1, "null": 1}


# --- texts ------------------------------------------------------------------------------------------


@given(
    st.lists(st.none() | st.binary().map(Text) | st.text().map(lambda t: Text(t.encode())), max_size=8),
    st.integers(0, 3),
)
def test_broken_text_is_found_where_it_is(values: list[Text | None], start: int) -> None:
    def is_broken(value: Text | None) -> bool:
        return value is not None and value.decode(errors="replace").encode() != value

    found = invalid_text(array_of(values, "text").slice(start))
    assert found.tolist() == [at for at, value in enumerate(values[start:]) if is_broken(value)]


@given(st.lists(st.none() | st.text("a\0\\u0").map(lambda text: text.encode()) | st.binary(), max_size=8))
def test_a_nul_is_found_wherever_it_stands(values: list[bytes | None]) -> None:
    array = array_of([None if value is None else Text(value) for value in values], "text")
    assert holds_nul(array, Kind.TEXT).tolist() == [
        at for at, value in enumerate(values) if value and b"\0" in value
    ]


ESCAPED = st.text("\0a\\u0", max_size=4)


@given(
    st.lists(
        st.recursive(
            ESCAPED,
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ESCAPED, inner, max_size=2),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_a_nul_that_json_spells_is_found_and_spelled_backslashes_are_none(values: list[Any]) -> None:
    def holds(value: Any) -> bool:
        if isinstance(value, dict):
            return any("\0" in key or holds(entry) for key, entry in value.items())
        return "\0" in value if isinstance(value, str) else any(holds(entry) for entry in value)

    array = pa.array([json.dumps(value) for value in values], pa.string())
    assert holds_nul(array, Kind.JSON).tolist() == [at for at, value in enumerate(values) if holds(value)]


def test_a_nul_is_looked_for_in_json_that_is_none() -> None:
    broken = array_of([Text(b"{\xff\\u0000"), Text(b"{\\u0000"), Text(b"{\\\\u0000"), Text(b"\0")], "text")
    assert holds_nul(broken, Kind.JSON).tolist() == [0, 1, 3]


# --- fewer digits of a second ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "digits", "values", "expected", "rounded"),
    [
        (Kind.TIMESTAMP, 0, [0, 499_999, 500_000, 1_500_000], [0, 0, 10**6, 2 * 10**6], [1, 2, 3]),
        (Kind.TIMESTAMP, 3, [1_499, 1_500, 2_000, None], [1_000, 2_000, 2_000, None], [0, 1]),
        (Kind.TIMESTAMP, 6, [1, 999_999], [1, 999_999], []),
        # Before 1970 a half goes up too.
        (Kind.INSTANT, 0, [-500_000, -500_001, -(10**6)], [0, -(10**6), -(10**6)], [0, 1]),
        # Out of the day or the calendar nothing goes.
        (Kind.TIME, 0, [86_400_000_000 - 1, 86_399_000_000], [86_399_000_000] * 2, [0]),
        (Kind.TIMESTAMP, 2, [253_402_300_800_000_000 - 1], [253_402_300_800_000_000 - 10_000], [0]),
        # What has no fraction loses none.
        (Kind.DATE, 0, [0, 19_000], [0, 19_000], []),
    ],
)
def test_times_are_rounded_to_the_digits_that_a_column_keeps_and_each_one_is_named(
    kind: Kind, digits: int, values: list[int | None], expected: list[int | None], rounded: list[int]
) -> None:
    numbers = pa.int32() if kind is Kind.DATE else pa.int64()
    found = convert(pa.array(values, numbers).view(ARROW_TYPES[kind]), kind, kind, digits)
    found.array.validate(full=True)
    assert found.array.view(numbers).to_pylist() == expected
    assert found.rounded.tolist() == rounded


def test_what_is_rounded_twice_is_named_once() -> None:
    texts = pa.array(["2024-01-01 00:00:00.1234567", "2024-01-01 00:00:00.12", "2024-01-01 00:00:01"])
    found = convert(texts, Kind.TEXT, Kind.TIMESTAMP, 1)
    assert found.rounded.tolist() == [0, 1]
    assert len(found.failed) == 0


# --- what is too large ------------------------------------------------------------------------------


def at(micros: int) -> dt.datetime:
    """Return the moment so many microseconds after 1970."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (["abc", "abcd", None, "éééé", "日本語"], Column("c", Kind.TEXT, size=3), [1, 3]),
        (["on", "off", "maybe", None], Column("c", Kind.TEXT, choices=("on", "off")), [2]),
        (["on", "maybe", "offoff"], Column("c", Kind.TEXT, size=5, choices=("on", "off")), [1, 2]),
        (["anything" * 100], Column("c", Kind.TEXT), []),
        ([127, 128, -128, -129, None], Column("c", Kind.INTEGER, bits=8), [1, 3]),
        ([2**31 - 1, 2**31, -(2**31), -(2**31) - 1], Column("c", Kind.INTEGER, bits=32), [1, 3]),
        ([2**63 - 1, -(2**63)], Column("c", Kind.INTEGER, bits=64), []),
        ([2**63 - 1], Column("c", Kind.INTEGER), []),
        ([0.5, 0.1, math.nan, math.inf, 1e300, None, -0.0], Column("c", Kind.FLOAT, bits=32), [1, 4]),
        ([0.1], Column("c", Kind.FLOAT, bits=64), []),
        (["1" * 100], Column("c", Kind.DECIMAL), []),
        ([b"x", b"", None], Column("c", Kind.BYTES, size=0), [0]),
        ([b"\xff" * 3, b"\xff" * 4], Column("c", Kind.BYTES, size=9, byte_size=3), [1]),
        ([b"x" * 99], Column("c", Kind.BYTES), []),
        (["abc", "ab\u00e9", "\u20ac\u20ac", None], Column("c", Kind.TEXT, byte_size=3), [1, 2]),
        (["abcd", "\u20ac"], Column("c", Kind.TEXT, size=3, byte_size=2), [0, 1]),
        (["\u00ff", "\u0100", "a\u0100", "", None], Column("c", Kind.TEXT, largest_character=0xFF), [1, 2]),
        (
            ["\uffff", "\U00010000", "a\n\U0010ffff\n"],
            Column("c", Kind.TEXT, largest_character=0xFFFF),
            [1, 2],
        ),
        (["~", "\x7f", "\x00", "\u0080"], Column("c", Kind.TEXT, largest_character=0x7F), [3]),
        ([at(-1), at(0), None, at(9)], Column("c", Kind.TIMESTAMP, earliest=0), [0]),
        ([at(-1), at(0), at(9), at(10)], Column("c", Kind.TIMESTAMP, earliest=0, latest=9), [0, 3]),
        ([at(-1), at(10)], Column("c", Kind.TIMESTAMP), []),
        ([at(9), at(10)], Column("c", Kind.INSTANT, latest=9), [1]),
        (["2024"], None, []),
        ([], Column("c", Kind.TEXT, size=3), []),
    ],
)
def test_values_too_large_for_a_column_are_found(
    values: list[Any], column: Column | None, expected: list[int]
) -> None:
    kind = Kind.TEXT if column is None else column.kind
    assert unfit(pa.array(values, ARROW_TYPES[kind]), column).tolist() == expected


@given(
    st.lists(
        st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**7), max_value=10**7),
        max_size=6,
    ),
    st.integers(1, 6),
    st.integers(-3, 8),
)
@settings(max_examples=500)
@example([decimal.Decimal("0.0099"), decimal.Decimal("0.01"), decimal.Decimal(0)], 2, 4)
@example([decimal.Decimal(99900), decimal.Decimal(99950), decimal.Decimal(0)], 3, -2)
@example([decimal.Decimal(10), decimal.Decimal("9.5")], 1, 0)
def test_a_decimal_fits_when_all_its_digits_do(
    values: list[decimal.Decimal | None], precision: int, scale: int
) -> None:
    def fits(value: decimal.Decimal) -> bool:
        scaled = value.scaleb(scale, decimal.Context(prec=60))
        return scaled == scaled.to_integral_value() and abs(scaled) < 10**precision

    array = pa.array([None if value is None else format(value, "f") for value in values], pa.string())
    column = Column("c", Kind.DECIMAL, precision=precision, scale=scale)
    expected = [at for at, value in enumerate(values) if value is not None and not fits(value)]
    assert unfit(array, column).tolist() == expected


def test_a_limited_decimal_holds_not_a_number_and_no_infinity() -> None:
    column = Column("c", Kind.DECIMAL, precision=10)
    assert unfit(pa.array(["NaN", "Infinity", "-Infinity", "1"]), column).tolist() == [1, 2]


# --- decimals as they are compared ------------------------------------------------------------------


@given(st.lists(st.none() | st.decimals(), max_size=8), st.integers(0, 3))
@example([decimal.Decimal("1E+3"), decimal.Decimal("-0.00"), decimal.Decimal("0E-9")], 0)
def test_equal_decimals_are_spelled_alike_and_others_apart(
    values: list[decimal.Decimal | None], start: int
) -> None:
    values = [
        None if value is None else decimal.Decimal("NaN") if value.is_nan() else value for value in values
    ]
    spelled = normal_decimals(
        pa.array([None if value is None else str(value) for value in values], pa.string()).slice(start)
    )
    for one, ours in zip(values[start:], spelled.to_pylist(), strict=True):
        assert (one is None) == (ours is None)
        if one is not None and ours is not None:
            assert "E" not in ours
            assert decimal.Decimal(ours) == one or one.is_nan()
            for other, theirs in zip(values[start:], spelled.to_pylist(), strict=True):
                if other is not None:
                    assert (ours == theirs) == (one == other or (one.is_nan() and other.is_nan()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".71", "0.71"),
        ("+1", "1"),
        ("1.", "1"),
        ("1.500", "1.5"),
        ("-0.0", "0"),
        ("00.5", "0.5"),
        ("1e-3", "0.001"),
    ],
)
def test_a_decimal_loses_what_says_nothing(text: str, expected: str) -> None:
    assert normal_decimals(pa.array([text])).to_pylist() == [expected]


# --- JSON -------------------------------------------------------------------------------------------


def json_texts() -> st.SearchStrategy[str]:
    """Make JSON as people write it: any spacing, escapes, repeated keys, every spelling of a number."""
    space = st.sampled_from(["", " ", "\n", "\t "])
    numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
    strings = st.builds(json.dumps, st.text('abü"\\:,{}[]\n\0\u2028 '), ensure_ascii=st.booleans())
    strings |= st.sampled_from([r'"\u0061"', r'"\/"', r'"\u0022:"', r'"\u003a"', '":"', '" :"', '"1.5"'])

    def extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        member = st.tuples(space, strings, space, st.just(":"), space, inner, space).map("".join)
        entry = st.tuples(space, inner, space).map("".join)
        return st.lists(member, max_size=3).map(lambda m: "{" + ",".join(m) + "}") | st.lists(
            entry, max_size=3
        ).map(lambda e: "[" + ",".join(e) + "]")

    return st.recursive(numbers | strings | st.sampled_from(["true", "false", "null"]), extend, max_leaves=8)


def meaning(text: str) -> Any:
    """Return what JSON says, in a form in which only equal things are equal."""

    def tagged(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tagged(entry) for key, entry in value.items()}
        return (
            [tagged(entry) for entry in value] if isinstance(value, list) else (type(value).__name__, value)
        )

    return tagged(json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal))


@given(st.lists(json_texts(), min_size=1, max_size=4))
@settings(max_examples=600)
@example(["1e2", "100", "100.0", "1e16", "10000000000000000", "1E+16"])
@example(["-0", "0", "-0.0", "0e5", "0.0000000000000000001", "1e-19"])
@example(['{"b":1,"a":2}', '{"a":2.0, "b":1}', '{"a":2,"b":1,"a":2}'])
@example(['{"\\u0022":1.0,"#":2}', '{"#":2,"\\"":1}'])
def test_json_of_equal_meaning_is_spelled_alike_and_other_json_apart(found: list[str]) -> None:
    spelled = normal_json(pa.array(found)).to_pylist()
    for one, ours in zip(found, spelled, strict=True):
        assert meaning(ours) == meaning(one)
        for other, theirs in zip(found, spelled, strict=True):
            assert (ours == theirs) == (meaning(one) == meaning(other))


@given(json_texts())
@settings(max_examples=600)
@example('{"a"\n:1,"a":2}')
@example('{"a":1,"a":"\\u0022:"}')
@example('{"a":1,"a":"\\u003a"}')
@example('{"a":1,"\\u0061":2}')
@example('[{"a":1},{"a":":"}]')
def test_a_key_that_an_object_names_twice_is_found(text: str) -> None:
    repeated = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        repeated.append(len({key for key, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    assert repeated_keys(pa.array([None, text, "{}"])).tolist() == ([1] if any(repeated) else [])


@pytest.mark.parametrize("depth", [200, 300, 1000, 1100, 5000])
def test_json_may_be_nested_deeper_than_python_recurses(depth: int) -> None:
    text = '[{"a": ' * depth + "1.0" + "}]" * depth
    assert (
        normal_json(pa.array([text, text.replace(" ", ""), text.replace(".0", "")])).to_pylist()
        == ['[{"a":' * depth + "1" + "}]" * depth] * 3
    )
    assert repeated_keys(pa.array([text, text.replace("1.0", '{"b":1,"b":2}')])).tolist() == [1]
    assert len(convert(pa.array([text]), Kind.ANY, Kind.JSON).failed) in (0, 1)


def test_half_a_character_keeps_the_only_spelling_it_has() -> None:
    found = normal_json(pa.array([r'{"a": "\uD800"}', r'{"a":"\ud800"}', r'{"a":"\ud801"}'])).to_pylist()
    assert found[0] == found[1] != found[2]


def test_a_number_of_any_size_is_compared_by_value() -> None:
    huge = "1e999999999999999999999999"
    assert normal_json(pa.array([huge, "1e400", "10e399", "1.5e-400"])).to_pylist() == [
        huge,
        "1e400",
        "1e400",
        "15e-401",
    ]
    assert normal_json(pa.array(["1.10", "1.1", "1.1000000000000000000001"])).to_pylist() == [
        "1.1",
        "1.1",
        "1.1000000000000000000001",
    ]


# --- for a person -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\xff\x00", "x'ff00'"),
        (b"a" * 41, f"x'{'61' * 40}' (41 bytes)"),
        ("a'b", '"a\'b"'),
        ("x" * 80, repr("x" * 80)),
        ("x" * 81, f"{'x' * 80!r} (81 characters)"),
        (5, "5"),
        (-0.0, "-0.0"),
        (None, "None"),
    ],
)
def test_a_value_is_shown_short_and_unmistakable(value: Any, expected: str) -> None:
    assert show(value) == expected


def test_a_value_is_shown_whatever_it_is_and_wherever_it_stands() -> None:
    values = [None, 1, 1.5, Text(b"text"), Text(b"\xff"), b"\xff"]
    expected = ["None", "1", "1.5", "'text'", "x'ff'", "x'ff'"]
    assert [show_at(struct_of(values), at) for at in range(len(values))] == expected
    assert [show_at(struct_of(values).slice(2), at) for at in range(4)] == expected[2:]
    assert show_at(pa.array([None], pa.string()), 0) == "None"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([-800_000], pa.int32()).view(pa.date32()), "-0221-09-04"),
        (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), f"<value out of range: {2**31 - 1}>"),
        (pa.array([-(2**62)]).view(pa.timestamp("us")), f"<value out of range: {-(2**62)}>"),
    ],
)
def test_a_moment_outside_of_pythons_calendar_is_shown(array: pa.Array, expected: str) -> None:
    assert show_at(array, 0) == expected


@given(st.lists(VALUES, min_size=2, max_size=2))
@example([Text(b"\xff"), b"\xff"])
@example([Text(b"x" * 90), Text(b"x" * 89 + b"y")])
@example([1, Text(b"1")])
def test_only_equal_values_have_the_same_exact_name(values: list[Any]) -> None:
    one, other = values
    array = struct_of(values)
    same_class = class_of(one) == class_of(other)
    equal = same_class and (one == other if not isinstance(one, float) else repr(one) == repr(other))
    if None not in values:
        assert (exact_at(array, 0) == exact_at(array, 1)) == equal
