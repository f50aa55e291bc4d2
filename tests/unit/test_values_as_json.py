"""Values that are written as JSON and read back are the same ones, to the last bit."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.model import ARROW_TYPES, STORAGE, Kind
from migration.spelling import exact_at
from migration.values_as_json import from_json, to_json


def written(array: pa.Array) -> list[Any]:
    values = [to_json(array, position) for position in range(len(array))]
    found: list[Any] = json.loads(json.dumps(values, allow_nan=False))
    return found


def broken(raw: bytes) -> pa.Array:
    return pa.array([raw, b"fine", None], pa.binary()).view(pa.string())


TIMES = [0, 1, -1, 1_700_000_000_123_456, -62_135_596_800_000_000, 253_402_300_800_000_000, None]
ARRAYS = [
    (Kind.BOOLEAN, pa.array([True, False, None])),
    (Kind.INTEGER, pa.array([0, 2**63 - 1, -(2**63), None])),
    (Kind.FLOAT, pa.array([1.0, 0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, 2.0**53 + 2, None])),
    (Kind.DECIMAL, pa.array(["1.10", "NaN", "9" * 40, None])),
    (Kind.TEXT, pa.array(["", "a\0b", "😀\u2028", "\ufeffx", None])),
    (Kind.TEXT, broken(b"\xff\x00\xed\xa0\x80")),
    (Kind.JSON, pa.array(['{"a": 1}', None])),
    (Kind.BYTES, pa.array([b"", b"\x00\xff", None])),
    (Kind.DATE, pa.array([0, -719_528, 3_000_000, None], pa.int32()).view(pa.date32())),
    (Kind.TIME, pa.array([0, 86_399_999_999, None], pa.int64()).view(pa.time64("us"))),
    (Kind.TIMESTAMP, pa.array(TIMES, pa.int64()).view(ARROW_TYPES[Kind.TIMESTAMP])),
    (Kind.INSTANT, pa.array(TIMES, pa.int64()).view(ARROW_TYPES[Kind.INSTANT])),
]


@pytest.mark.parametrize(("kind", "array"), ARRAYS, ids=lambda part: getattr(part, "value", ""))
def test_a_column_of_a_kind_comes_back_as_it_was(kind: Kind, array: pa.Array) -> None:
    found = from_json(written(array), kind)
    assert found.type == array.type
    assert found.is_valid().equals(array.is_valid())
    assert [exact_at(found, at) for at in range(len(array))] == [
        exact_at(array, at) for at in range(len(array))
    ]


def storage(value: Any) -> pa.StructArray:
    name = {int: "integer", float: "real", str: "text", bytes: "blob", type(None): ""}[type(value)]
    arrays = [pa.array([value if field.name == name else None], field.type) for field in STORAGE]
    return pa.StructArray.from_arrays(arrays, fields=list(STORAGE))


@given(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
def test_a_value_of_any_class_keeps_its_class(value: Any) -> None:
    array = storage(value)
    found = from_json(written(array), Kind.ANY)
    assert exact_at(found, 0) == exact_at(array, 0)
    # The sign of what is no number says nothing, and no engine keeps it.
    if isinstance(value, float) and not math.isnan(value):
        assert math.copysign(1, found.field(1)[0].as_py()) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", Kind.INTEGER),
        (1.5, Kind.INTEGER),
        (2**63, Kind.INTEGER),
        (2**63, Kind.ANY),
        (True, Kind.INTEGER),
        (True, Kind.ANY),
        (1, Kind.BOOLEAN),
        ("x", Kind.BYTES),
        ({"hex": "0"}, Kind.BYTES),
        ({"hex": "zz"}, Kind.ANY),
        ({"real": "big"}, Kind.FLOAT),
        ({"other": "x"}, Kind.ANY),
        ({"hex": "00", "real": "NaN"}, Kind.ANY),
        ([1], Kind.ANY),
        ("2024-01-01", Kind.DATE),
        ({"time": "yesterday"}, Kind.DATE),
        ({"time": "2024-01-01"}, Kind.ANY),
        (5, Kind.TEXT),
        ("\ud800", Kind.TEXT),
    ],
)
def test_what_is_no_value_of_the_kind_is_refused(value: Any, kind: Kind) -> None:
    with pytest.raises(ValueError, match="."):
        from_json([value], kind)
