"""Turns what an engine stored into canonical Arrow values, and says of each value how it fared.

A value read from a column that may hold anything (:data:`~migration.model.Kind.ANY`) arrives as one of
four storage classes: integer, real, text, blob. :func:`convert` turns such an array into the kind the
plan wants. Nothing is guessed: a value either becomes the kind, or its position is reported as failed,
changed (arrives as something else, a number as text) or rounded (loses digits).
"""

from __future__ import annotations

import dataclasses
import decimal
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import (
    NOWHERE,
    Converted,
    all_failed,
    blank,
    filled,
    filled_count,
    keep_nulls,
    positions,
    union,
    where,
)
from migration.limits import invalid_text
from migration.model import ARROW_TYPES, STORAGE, Kind
from migration.moments import (
    cut_times,
    date_to_timestamp,
    number_to_instant,
    number_to_timestamp,
    text_to_date,
    text_to_instant,
    text_to_time,
    text_to_timestamp,
    timestamp_to_instant,
)
from migration.spelling import is_json, normal_decimals

STORAGE_CLASSES = tuple(STORAGE.field(i).name for i in range(STORAGE.num_fields))
# A double holds every integer up to here, and not every one above.
LARGEST_EXACT_INTEGER = 2**53
_TIME_TYPES = tuple(ARROW_TYPES[kind] for kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT))
TRUE_WORDS, FALSE_WORDS = ("t", "true"), ("f", "false")


def convert(array: pa.Array, own: Kind, kind: Kind, fraction_digits: int | None = None) -> Converted:
    """Turn an array of one kind into another, exactly or with every exception named.

    Parameters
    ----------
    array
        Values as a backend read them. With ``own`` = ANY: an array of one storage class, or a struct
        of several (:data:`~migration.model.STORAGE`); else of the canonical type of ``own``.
    own, kind
        What the values are, and what they are wanted as.
    fraction_digits
        How many digits of a second's fraction a time is wanted with; ``None`` for all there are.

    Returns
    -------
    Converted
        Array of the canonical type of ``kind``, null where the value was null or failed.
    """
    found = _convert(array, own, kind)
    if fraction_digits is None or found.array.type not in _TIME_TYPES:
        return found
    cut, rounded = cut_times(found.array, fraction_digits)
    return dataclasses.replace(found, array=cut, rounded=union([found.rounded, rounded]))


def _convert(array: pa.Array, own: Kind, kind: Kind) -> Converted:
    if own is kind and own is not Kind.ANY:
        return Converted(array)
    if kind is Kind.ANY:
        return Converted(as_storage(array, own))
    if own is Kind.DECIMAL and kind in (Kind.INTEGER, Kind.FLOAT):
        return _from_decimal(array, kind)
    if (own, kind) == (Kind.DATE, Kind.TIMESTAMP):
        return date_to_timestamp(array)
    if (own, kind) == (Kind.TIMESTAMP, Kind.INSTANT):
        return timestamp_to_instant(array)
    return _from_storage(array, kind) if own in _STORED_KINDS else all_failed(array, kind)


def storage_class(array: pa.Array) -> str:
    """Name the storage class of an array that holds only one."""
    return _CLASS_OF_TYPE[array.type]


def as_storage(array: pa.Array, own: Kind) -> pa.StructArray:
    """Return an array as the struct of storage classes, at most one field set a row.

    Raises
    ------
    TypeError
        For a kind that has no storage class of its own, such as an instant.
    """
    if own not in _STORED_KINDS:
        raise TypeError(f"{own.value} has no storage class")
    if pa.types.is_struct(array.type):
        present = {array.type.field(i).name: pc.struct_field(array, i) for i in range(array.type.num_fields)}
    else:
        plain = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
        present = {storage_class(plain): plain}
    arrays = [present.get(name, pa.nulls(len(array), STORAGE.field(name).type)) for name in STORAGE_CLASSES]
    return pa.StructArray.from_arrays(arrays, fields=[STORAGE.field(i) for i in range(STORAGE.num_fields)])


def storage_counts(array: pa.Array) -> dict[str, int]:
    """Count the values of each storage class, nulls included."""
    if pa.types.is_struct(array.type):
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        counts = {name: filled_count(pc.struct_field(array, i)) for i, name in enumerate(names)}
    else:
        counts = {_CLASS_OF_TYPE.get(array.type, str(array.type)): filled_count(array)}
    counts["null"] = len(array) - sum(counts.values())
    return {name: count for name, count in counts.items() if count}


# --- from storage classes ---------------------------------------------------------------------------


def _from_storage(array: pa.Array, kind: Kind) -> Converted:
    if not pa.types.is_struct(array.type):
        return _convert_class(array, kind)
    parts = [_convert_class(pc.struct_field(array, i), kind) for i in range(array.type.num_fields)]
    forms: dict[str, int] = {}
    for part in parts:
        forms.update(part.forms)
    return Converted(
        array=pc.coalesce(*[part.array for part in parts]),
        failed=union(part.failed for part in parts),
        changed=union(part.changed for part in parts),
        rounded=union(part.rounded for part in parts),
        forms=forms,
    )


def _convert_class(array: pa.Array, kind: Kind) -> Converted:
    if array.null_count == len(array):
        return Converted(pa.nulls(len(array), ARROW_TYPES[kind]))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    converter = _CONVERTERS.get((storage_class(array), kind))
    if converter is None:
        return all_failed(array, kind)
    broken = invalid_text(array) if pa.types.is_string(array.type) else NOWHERE
    if not len(broken):
        return converter(array)
    # Arrow's text kernels stop at the first broken byte, so broken texts step aside.
    found = converter(blank(array, broken))
    return Converted(found.array, union([found.failed, broken]), found.changed, found.rounded, found.forms)


def _keep(array: pa.Array) -> Converted:
    return Converted(array)


def _integer_to_boolean(array: pa.Array) -> Converted:
    known = pc.or_(pc.equal(array, 0), pc.equal(array, 1))
    return where(array, known, lambda kept: kept.cast(pa.bool_()), Kind.BOOLEAN, "0 or 1")


def _text_to_boolean(array: pa.Array) -> Converted:
    lower = pc.utf8_lower(array)
    known = keep_nulls(pc.is_in(lower, pa.array(TRUE_WORDS + FALSE_WORDS)), lower)

    def is_true(kept: pa.Array) -> pa.Array:
        return keep_nulls(pc.is_in(kept, pa.array(TRUE_WORDS)), kept)

    return where(lower, known, is_true, Kind.BOOLEAN, "true or false in words")


def _integer_to_decimal(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.string()))


def _real_to_decimal(array: pa.Array) -> Converted:
    return where(array, pc.invert(_is_negative_zero(array)), _spell_reals, Kind.DECIMAL)


def _is_negative_zero(array: pa.Array) -> pa.Array:
    """Tell which zeros have a sign, which neither a decimal nor an integer has."""
    return pc.and_(pc.equal(array, 0.0), pc.less(pc.divide(1.0, array), 0.0))


def _spell_reals(array: pa.Array) -> pa.Array:
    spelled = array.cast(pa.string())
    finite = pc.is_finite(array)
    if pc.all(finite, min_count=0).as_py():
        return normal_decimals(spelled)
    odd = pa.array([None if value is None else _odd_real(value) for value in array.to_pylist()], pa.string())
    return pc.coalesce(odd, normal_decimals(pc.if_else(finite, spelled, None)))


def _odd_real(value: float) -> str | None:
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value))


def _integer_to_float(array: pa.Array) -> Converted:
    # The absolute value of the smallest integer is none of 64 bits.
    exact = pc.less_equal(pc.abs(pc.max_element_wise(array, -(2**63) + 1)), LARGEST_EXACT_INTEGER)
    return where(array, keep_nulls(exact, array), lambda kept: kept.cast(pa.float64()), Kind.FLOAT)


def _real_to_integer(array: pa.Array) -> Converted:
    small = pc.less_equal(pc.abs(array), float(LARGEST_EXACT_INTEGER))
    whole = pc.and_(small, pc.equal(array, pc.trunc(array)))
    known = pc.and_(whole, pc.invert(_is_negative_zero(array)))
    return where(array, known, lambda kept: kept.cast(pa.int64()), Kind.INTEGER)


def _number_to_text(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.string()), changed=filled(array))


def _number_to_json(array: pa.Array) -> Converted:
    return where(array, pc.is_finite(array), lambda kept: kept.cast(pa.string()), Kind.JSON)


def _text_to_bytes(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.binary()), changed=filled(array))


def _text_to_json(array: pa.Array) -> Converted:
    encoded = array.dictionary_encode()
    good = pa.array([is_json(text.as_py()) for text in encoded.dictionary], pa.bool_())
    return where(array, good.take(encoded.indices), lambda kept: kept, Kind.JSON)


def _text_to_decimal(array: pa.Array) -> Converted:
    """Read numbers in text; one whose zeros in front or whose sign would go is changed."""
    known = pc.match_substring_regex(array, r"^(-?\d+(\.\d+)?|NaN|-?Infinity)$")
    found = where(array, known, lambda kept: kept, Kind.DECIMAL, "decimal in text")
    changed = positions(pc.match_substring_regex(found.array, r"^-?0\d|^-0(\.0*)?$"))
    return Converted(found.array, found.failed, changed, forms=found.forms)


# --- from decimals ----------------------------------------------------------------------------------


def _from_decimal(array: pa.Array, kind: Kind) -> Converted:
    """Read decimals as integers or doubles where that gives the same number back."""
    exact = _exact_float if kind is Kind.FLOAT else _exact_integer
    numbers = [None if text is None else exact(decimal.Decimal(text)) for text in array.to_pylist()]
    converted = pa.array(numbers, ARROW_TYPES[kind])
    return Converted(converted, failed=np.setdiff1d(filled(array), filled(converted)))


def _exact_float(value: decimal.Decimal) -> float | None:
    number = float(value)
    return number if not value.is_finite() or decimal.Decimal(repr(number)) == value else None


def _exact_integer(value: decimal.Decimal) -> int | None:
    fits = value.is_finite() and -(2**63) <= value < 2**63 and value == value.to_integral_value()
    return int(value) if fits else None


_CLASS_OF_TYPE = {pa.int64(): "integer", pa.float64(): "real", pa.string(): "text", pa.binary(): "blob"}
# Kinds whose canonical type is that of a storage class, and ANY, which is all of them.
_STORED_KINDS = frozenset(
    {Kind.ANY, Kind.BOOLEAN, Kind.INTEGER, Kind.FLOAT, Kind.TEXT, Kind.BYTES, Kind.JSON}
)
_CONVERTERS: dict[tuple[str, Kind], Callable[[pa.Array], Converted]] = {
    ("integer", Kind.INTEGER): _keep,
    ("integer", Kind.BOOLEAN): _integer_to_boolean,
    ("integer", Kind.DECIMAL): _integer_to_decimal,
    ("integer", Kind.FLOAT): _integer_to_float,
    ("integer", Kind.TEXT): _number_to_text,
    ("integer", Kind.JSON): _number_to_json,
    ("integer", Kind.INSTANT): number_to_instant,
    ("integer", Kind.TIMESTAMP): number_to_timestamp,
    ("real", Kind.FLOAT): _keep,
    ("real", Kind.INTEGER): _real_to_integer,
    ("real", Kind.DECIMAL): _real_to_decimal,
    ("real", Kind.TEXT): _number_to_text,
    ("real", Kind.JSON): _number_to_json,
    ("real", Kind.INSTANT): number_to_instant,
    ("real", Kind.TIMESTAMP): number_to_timestamp,
    ("text", Kind.TEXT): _keep,
    ("text", Kind.BOOLEAN): _text_to_boolean,
    ("text", Kind.BYTES): _text_to_bytes,
    ("text", Kind.DECIMAL): _text_to_decimal,
    ("text", Kind.JSON): _text_to_json,
    ("text", Kind.DATE): text_to_date,
    ("text", Kind.TIME): text_to_time,
    ("text", Kind.TIMESTAMP): text_to_timestamp,
    ("text", Kind.INSTANT): text_to_instant,
    ("blob", Kind.BYTES): _keep,
}
