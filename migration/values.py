"""Turns what an engine stored into canonical Arrow values, and says of each value how it fared.

A value read from a column that may hold anything (:data:`~migration.model.Kind.ANY`) arrives as one of
four storage classes: integer, real, text, blob. :func:`convert` turns such an array into the kind the
plan wants. Nothing is guessed: a value either becomes the kind, or its position is reported as failed,
changed (arrives as something else, a number as text) or rounded (loses digits).
"""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from migration.model import ARROW_TYPES, STORAGE, Column, Kind

Positions: TypeAlias = npt.NDArray[np.int64]
NOWHERE: Positions = np.empty(0, dtype=np.int64)
STORAGE_CLASSES = tuple(STORAGE.field(i).name for i in range(STORAGE.num_fields))

# A double holds every integer up to here, and not every one above.
LARGEST_EXACT_INTEGER = 2**53
# A number in a timestamp column is an epoch in the unit that puts it between 1973 and the year 5138;
# below, it could as well be a year, a Julian day or 20250131, and is no instant at all.
EPOCH_UNITS = (("seconds", 1e8, 1e11, 1e6), ("milliseconds", 1e11, 1e14, 1e3),
               ("microseconds", 1e14, 1e17, 1.0), ("nanoseconds", 1e17, 9.3e18, 1e-3))  # fmt: skip
DATE_FORM = r"^\d{4}-\d\d-\d\d$"
NAIVE_FORM = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?$"
ZONED_FORM = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$"
TIME_FORM = r"^\d\d:\d\d(:\d\d(\.\d+)?)?$"
TRUE_WORDS, FALSE_WORDS = ("t", "true"), ("f", "false")


@dataclass(frozen=True)
class Converted:
    """An array in its canonical type, with the positions that did not arrive as they were."""

    array: pa.Array
    failed: Positions = field(default_factory=lambda: NOWHERE)
    changed: Positions = field(default_factory=lambda: NOWHERE)
    rounded: Positions = field(default_factory=lambda: NOWHERE)
    forms: dict[str, int] = field(default_factory=dict)


def convert(array: pa.Array, own: Kind, kind: Kind) -> Converted:
    """Turn an array of one kind into another, exactly or with every exception named.

    Parameters
    ----------
    array
        Values as a backend read them. With ``own`` = ANY: an array of one storage class, or a struct
        of several (:data:`~migration.model.STORAGE`); else of the canonical type of ``own``.
    own, kind
        What the values are, and what they are wanted as.

    Returns
    -------
    Converted
        Array of the canonical type of ``kind``, null where the value was null or failed.
    """
    if own is kind and own is not Kind.ANY:
        return Converted(array)
    if kind is Kind.ANY:
        return Converted(as_storage(array, own))
    if own is Kind.ANY:
        return _from_storage(array, kind)
    if own is Kind.DECIMAL and kind in (Kind.INTEGER, Kind.FLOAT):
        return _from_decimal(array, kind)
    if (own, kind) in ((Kind.DATE, Kind.TIMESTAMP), (Kind.TIMESTAMP, Kind.INSTANT)):
        return Converted(array.cast(ARROW_TYPES[kind]), forms={f"{own.value} as {kind.value}": _filled(array)})
    if own in _CLASS_OF_KIND:
        return _from_storage(array, kind)
    return _all_failed(array, kind)


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
    present: dict[str, pa.Array] = {}
    if pa.types.is_struct(array.type):
        present = {array.type.field(i).name: pc.struct_field(array, i) for i in range(array.type.num_fields)}
    elif own is Kind.ANY or own in _CLASS_OF_KIND:
        plain = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
        present = {storage_class(plain): plain}
    else:
        raise TypeError(f"{own.value} has no storage class")
    fields = [
        present.get(name, pa.nulls(len(array), STORAGE.field(name).type)) for name in STORAGE_CLASSES
    ]
    return pa.StructArray.from_arrays(fields, fields=[STORAGE.field(i) for i in range(STORAGE.num_fields)])


def storage_counts(array: pa.Array) -> dict[str, int]:
    """Count the values of each storage class, nulls included."""
    if pa.types.is_struct(array.type):
        counts = {array.type.field(i).name: _filled(pc.struct_field(array, i)) for i in range(array.type.num_fields)}
    else:
        counts = {_CLASS_OF_TYPE.get(array.type, str(array.type)): _filled(array)}
    counts["null"] = len(array) - sum(counts.values())
    return {name: count for name, count in counts.items() if count}


def invalid_text(array: pa.Array) -> Positions:
    """Return the positions of a text array whose bytes are not UTF-8."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return NOWHERE
    return np.array([i for i, value in enumerate(array.cast(pa.binary())) if not _is_utf8(value.as_py())], np.int64)


def normal_decimals(array: pa.Array) -> pa.Array:
    """Spell equal decimals alike: no exponent, no trailing zeros, no leading plus."""
    plain = pc.replace_substring_regex(array, r"^(-?\d+)\.0*$", r"\1")
    plain = pc.replace_substring_regex(plain, r"^(-?\d+\.\d*[1-9])0+$", r"\1")
    odd = _positions(pc.invert(pc.match_substring_regex(plain, r"^(0|-?[1-9]\d*|-?(0|[1-9]\d*)\.\d*[1-9])$")))
    return _replace_each(plain, odd, _normal_decimal) if len(odd) else plain


def normal_json(array: pa.Array) -> pa.Array:
    """Spell JSON texts of equal meaning alike: keys sorted, no spaces, numbers by value.

    Numbers keep every digit (``1.10`` equals ``1.1`` and differs from ``1.1000000000000001``).
    """
    encoded = array.dictionary_encode()
    meanings = [_normal_json(text.as_py()) for text in encoded.dictionary]
    return pa.array(meanings, pa.string()).take(encoded.indices)


def repeated_keys(array: pa.Array) -> Positions:
    """Return the positions of JSON texts in which an object names a key twice."""
    encoded = array.dictionary_encode()
    twice = {i for i, text in enumerate(encoded.dictionary) if _repeats_key(text.as_py())}
    if not twice:
        return NOWHERE
    return np.flatnonzero(np.isin(encoded.indices.fill_null(-1).to_numpy(), list(twice)))


def holds_nul(array: pa.Array, kind: Kind) -> Positions:
    """Return the positions of texts with a NUL character in them, escaped ones too where it is JSON."""
    found = _positions(pc.match_substring(array.cast(pa.binary()), "\0"))
    if kind is not Kind.JSON:
        return found
    suspects = _positions(pc.match_substring(array, "\\u0000"))
    escaped = [i for i in suspects if "\0" in strings_in(json.loads(array[int(i)].as_py()))]
    return np.union1d(found, np.array(escaped, np.int64))


def unfit(array: pa.Array, column: Column | None) -> Positions:
    """Return the positions of canonical values that are too large for an existing column."""
    if column is None or not len(array):
        return NOWHERE
    if pa.types.is_string(array.type) and column.kind is Kind.TEXT:
        too_long = pc.greater(pc.utf8_length(array), column.size) if column.size is not None else None
        unknown = pc.invert(pc.is_in(array, pa.array(column.choices))) if column.choices else None
        return _union(_positions(pc.and_(mask, array.is_valid())) for mask in (too_long, unknown) if mask is not None)
    if pa.types.is_string(array.type) and column.kind is Kind.DECIMAL and column.precision is not None:
        whole, scale = column.precision - (column.scale or 0), column.scale or 0
        fits = rf"^-?(0|\d{{1,{whole}}})(\.\d{{1,{scale}}})?$" if whole else rf"^-?0(\.\d{{1,{max(scale, 1)}}})?$"
        return _positions(pc.invert(pc.match_substring_regex(normal_decimals(array), fits)))
    if pa.types.is_integer(array.type) and column.kind is Kind.INTEGER and column.bits is not None and column.bits < 64:
        bound = 2 ** (column.bits - 1)
        return _positions(pc.or_(pc.less(array, -bound), pc.greater_equal(array, bound)))
    if pa.types.is_floating(array.type) and column.bits == 32:
        single = array.cast(pa.float32(), safe=False).cast(pa.float64())
        return _positions(pc.and_(pc.not_equal(single, array), pc.invert(pc.is_nan(array))))
    return NOWHERE


def strings_in(value: Any) -> str:
    """Join every string of a JSON value, keys included."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(strings_in(entry) for entry in value)
    if isinstance(value, dict):
        return "".join(key + strings_in(entry) for key, entry in value.items())
    return ""


def show(value: Any) -> str:
    """Write a value for a person: bytes as hex, text that is not UTF-8 as hex, long ones cut."""
    if isinstance(value, dict):
        value = next((entry for entry in value.values() if entry is not None), None)
    if isinstance(value, bytes):
        text = f"x'{value[:40].hex()}'"
        return text if len(value) <= 40 else f"{text} ({len(value)} bytes)"
    if isinstance(value, str):
        return repr(value) if len(value) <= 80 else f"{value[:80]!r} ({len(value)} characters)"
    return str(value)


def show_at(array: pa.Array, position: int) -> str:
    """Write the value at a position for a person, whatever bytes it holds."""
    if pa.types.is_struct(array.type):
        for i in range(array.type.num_fields):
            if array.field(i)[position].is_valid:
                return show_at(array.field(i), position)
        return "None"
    scalar = array[position]
    if pa.types.is_string(array.type):
        raw = scalar.cast(pa.binary()).as_py() if scalar.is_valid else None
        return show(raw if raw is None or not _is_utf8(raw) else raw.decode())
    return show(scalar.as_py())


# --- from storage classes ---------------------------------------------------------------------------


def _from_storage(array: pa.Array, kind: Kind) -> Converted:
    if not pa.types.is_struct(array.type):
        return _convert_class(array, kind)
    parts = [_convert_class(pc.struct_field(array, i), kind) for i in range(array.type.num_fields)]
    forms: dict[str, int] = {}
    for part in parts:
        for form, count in part.forms.items():
            forms[form] = forms.get(form, 0) + count
    return Converted(
        array=pc.coalesce(*[part.array for part in parts]),
        failed=_union(part.failed for part in parts),
        changed=_union(part.changed for part in parts),
        rounded=_union(part.rounded for part in parts),
        forms=forms,
    )


def _convert_class(array: pa.Array, kind: Kind) -> Converted:
    if array.null_count == len(array):
        return Converted(pa.nulls(len(array), ARROW_TYPES[kind]))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    converter = _CONVERTERS.get((storage_class(array), kind))
    if converter is None:
        return _all_failed(array, kind)
    if not pa.types.is_string(array.type):
        return converter(array)
    broken = invalid_text(array)
    if not len(broken):
        return converter(array)
    # Arrow's text kernels stop at the first broken byte, so broken texts step aside.
    converted = converter(_blank(array, broken))
    return Converted(converted.array, np.union1d(converted.failed, broken), converted.changed,
                     converted.rounded, converted.forms)  # fmt: skip


def _keep(array: pa.Array) -> Converted:
    return Converted(array)


def _integer_to_boolean(array: pa.Array) -> Converted:
    known = pc.or_(pc.equal(array, 0), pc.equal(array, 1))
    return _where(array, known, lambda kept: kept.cast(pa.bool_()), Kind.BOOLEAN, "0 or 1")


def _text_to_boolean(array: pa.Array) -> Converted:
    lower = pc.utf8_lower(array)
    known = _keep_nulls(pc.is_in(lower, pa.array(TRUE_WORDS + FALSE_WORDS)), lower)
    return _where(
        lower, known, lambda kept: _keep_nulls(pc.is_in(kept, pa.array(TRUE_WORDS)), kept), Kind.BOOLEAN,
        "true or false in words",
    )  # fmt: skip


def _integer_to_decimal(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.string()))


def _real_to_decimal(array: pa.Array) -> Converted:
    # A decimal has no negative zero.
    negative_zero = pc.and_(pc.equal(array, 0.0), pc.less(pc.divide(1.0, array), 0.0))
    return _where(array, pc.invert(negative_zero), _spell_reals, Kind.DECIMAL)


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
    exact = pc.less_equal(pc.abs(pc.max_element_wise(array, -(2**63) + 1)), LARGEST_EXACT_INTEGER)
    return _where(array, _keep_nulls(exact, array), lambda kept: kept.cast(pa.float64()), Kind.FLOAT)


def _real_to_integer(array: pa.Array) -> Converted:
    small = pc.less_equal(pc.abs(array), float(LARGEST_EXACT_INTEGER))
    whole = pc.and_(small, pc.equal(array, pc.trunc(array)))
    return _where(array, whole, lambda kept: kept.cast(pa.int64()), Kind.INTEGER)


def _number_to_text(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.string()), changed=_valid_positions(array))


def _number_to_json(array: pa.Array) -> Converted:
    return _where(array, pc.is_finite(array), lambda kept: kept.cast(pa.string()), Kind.JSON)


def _text_to_bytes(array: pa.Array) -> Converted:
    return Converted(array.cast(pa.binary()), changed=_valid_positions(array))


def _text_to_json(array: pa.Array) -> Converted:
    encoded = array.dictionary_encode()
    good = pa.array([_is_json(text.as_py()) for text in encoded.dictionary], pa.bool_())
    return _where(array, good.take(encoded.indices), lambda kept: kept, Kind.JSON)


def _text_to_decimal(array: pa.Array) -> Converted:
    known = pc.match_substring_regex(array, r"^(-?\d+(\.\d+)?|NaN|-?Infinity)$")
    return _where(array, known, lambda kept: kept, Kind.DECIMAL, "decimal in text")


def _text_to_date(array: pa.Array) -> Converted:
    day = pc.match_substring_regex(array, DATE_FORM)
    midnight = pc.match_substring_regex(array, r"^\d{4}-\d\d-\d\d[ T]00:00(:00(\.0+)?)?$")
    cut = pc.utf8_slice_codeunits(array, 0, 10)
    return _gather(array, Kind.DATE, [
        ("date", day, cut, pa.date32()), ("date at midnight", midnight, cut, pa.date32())])  # fmt: skip


def _text_to_time(array: pa.Array) -> Converted:
    known = pc.match_substring_regex(array, TIME_FORM)
    texts, rounded = _cut_fraction(array)
    # Arrow reads no bare times, so each becomes that time on the first day it knows.
    on_a_day = pc.binary_join_element_wise("1970-01-01", texts, " ")
    return _gather(array, Kind.TIME, [("time", known, on_a_day, pa.timestamp("us"))], rounded)


def _text_to_timestamp(array: pa.Array) -> Converted:
    texts, rounded = _cut_fraction(array)
    converted = _gather(array, Kind.TIMESTAMP, _naive_forms(texts, pa.timestamp("us")) + [
        ("text with zone, as UTC", pc.match_substring_regex(texts, ZONED_FORM), texts, pa.timestamp("us", "UTC"))
    ], rounded)  # fmt: skip
    zoned = _positions(pc.match_substring_regex(texts, ZONED_FORM))
    return Converted(converted.array, converted.failed, np.setdiff1d(zoned, converted.failed),
                     converted.rounded, converted.forms)  # fmt: skip


def _text_to_instant(array: pa.Array) -> Converted:
    texts, rounded = _cut_fraction(array)
    zoned = ("text with zone", pc.match_substring_regex(texts, ZONED_FORM), texts, pa.timestamp("us", "UTC"))
    naive = [(f"{form}, read as UTC", mask, found, as_type) for form, mask, found, as_type
             in _naive_forms(texts, pa.timestamp("us"))]  # fmt: skip
    return _gather(array, Kind.INSTANT, [zoned, *naive], rounded)


def _naive_forms(texts: pa.Array, as_type: pa.DataType) -> list[tuple[str, pa.Array, pa.Array, pa.DataType]]:
    return [
        ("text without zone", pc.match_substring_regex(texts, NAIVE_FORM), texts, as_type),
        ("date only", pc.match_substring_regex(texts, DATE_FORM), texts, as_type),
    ]


def _number_to_instant(array: pa.Array) -> Converted:
    """Read numbers as epochs, the unit told by their size; every form is counted."""
    numbers = array.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    micros = np.zeros(len(array), dtype=np.int64)
    known = np.zeros(len(array), dtype=bool)
    forms: dict[str, int] = {}
    with np.errstate(invalid="ignore"):
        for unit, low, high, factor in EPOCH_UNITS:
            mask = valid & (numbers >= low) & (numbers < high)
            if mask.any():
                known |= mask
                micros[mask] = np.rint(numbers[mask] * factor).astype(np.int64)
                forms[f"epoch {unit} ({storage_class(array)})"] = int(mask.sum())
    if pa.types.is_integer(array.type):
        rounded = _scale_integers(array, known, micros)
    else:
        # Exact when the microseconds give the same double back: what datetime.timestamp() wrote.
        factors = np.select([numbers < high for _, _, high, _ in EPOCH_UNITS], [f for *_, f in EPOCH_UNITS], 1.0)
        rounded = np.flatnonzero(known & (micros / factors != numbers))
    array_out = pa.array(micros, mask=~known).cast(pa.timestamp("us")).cast(ARROW_TYPES[Kind.INSTANT])
    return Converted(array_out, failed=np.flatnonzero(valid & ~known), rounded=rounded, forms=forms)


def _scale_integers(array: pa.Array, known: npt.NDArray[np.bool_], micros: npt.NDArray[np.int64]) -> Positions:
    """Scale whole epochs in whole arithmetic; return the positions where nanoseconds were cut."""
    whole = array.fill_null(0).to_numpy(zero_copy_only=False)
    scaled = np.select(
        [whole < 10**11, whole < 10**14, whole < 10**17],
        [np.where(whole < 10**11, whole, 0) * 10**6, np.where(whole < 10**14, whole, 0) * 1000, whole],
        whole // 1000,
    )
    micros[known] = scaled[known]
    return np.flatnonzero(known & (whole >= 10**17) & (whole % 1000 != 0))


def _number_to_timestamp(array: pa.Array) -> Converted:
    instant = _number_to_instant(array)
    naive = instant.array.cast(ARROW_TYPES[Kind.TIMESTAMP])
    return Converted(naive, instant.failed, _valid_positions(naive), instant.rounded, instant.forms)


_CLASS_OF_TYPE = {pa.int64(): "integer", pa.float64(): "real", pa.string(): "text", pa.binary(): "blob"}
_CLASS_OF_KIND = frozenset({Kind.BOOLEAN, Kind.INTEGER, Kind.FLOAT, Kind.TEXT, Kind.BYTES, Kind.JSON})
_CONVERTERS: dict[tuple[str, Kind], Callable[[pa.Array], Converted]] = {
    ("integer", Kind.INTEGER): _keep,
    ("integer", Kind.BOOLEAN): _integer_to_boolean,
    ("integer", Kind.DECIMAL): _integer_to_decimal,
    ("integer", Kind.FLOAT): _integer_to_float,
    ("integer", Kind.TEXT): _number_to_text,
    ("integer", Kind.JSON): _number_to_json,
    ("integer", Kind.INSTANT): _number_to_instant,
    ("integer", Kind.TIMESTAMP): _number_to_timestamp,
    ("real", Kind.FLOAT): _keep,
    ("real", Kind.INTEGER): _real_to_integer,
    ("real", Kind.DECIMAL): _real_to_decimal,
    ("real", Kind.TEXT): _number_to_text,
    ("real", Kind.JSON): _number_to_json,
    ("real", Kind.INSTANT): _number_to_instant,
    ("real", Kind.TIMESTAMP): _number_to_timestamp,
    ("text", Kind.TEXT): _keep,
    ("text", Kind.BOOLEAN): _text_to_boolean,
    ("text", Kind.BYTES): _text_to_bytes,
    ("text", Kind.DECIMAL): _text_to_decimal,
    ("text", Kind.JSON): _text_to_json,
    ("text", Kind.DATE): _text_to_date,
    ("text", Kind.TIME): _text_to_time,
    ("text", Kind.TIMESTAMP): _text_to_timestamp,
    ("text", Kind.INSTANT): _text_to_instant,
    ("blob", Kind.BYTES): _keep,
}


def _from_decimal(array: pa.Array, kind: Kind) -> Converted:
    """Read decimals as integers or doubles where that gives the same number back."""

    def exact(text: str) -> int | float | None:
        value = decimal.Decimal(text)
        if not value.is_finite():
            return float(value) if kind is Kind.FLOAT else None
        if kind is Kind.FLOAT:
            return float(value) if decimal.Decimal(repr(float(value))) == value else None
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else None

    numbers = [None if text is None else exact(text) for text in array.to_pylist()]
    converted = pa.array(numbers, ARROW_TYPES[kind])
    return Converted(converted, failed=np.setdiff1d(_valid_positions(array), _valid_positions(converted)))


# --- small pieces -----------------------------------------------------------------------------------


def _where(
    array: pa.Array, known: pa.Array, become: Callable[[pa.Array], pa.Array], kind: Kind, form: str = ""
) -> Converted:
    """Convert the known values and report the others as failed."""
    failed = _positions(pc.invert(known))
    kept = _blank(array, failed) if len(failed) else array
    converted = become(kept).cast(ARROW_TYPES[kind])
    return Converted(converted, failed=failed, forms={form: _filled(converted)} if form else {})


def _gather(
    array: pa.Array,
    kind: Kind,
    forms: list[tuple[str, pa.Array, pa.Array, pa.DataType]],
    rounded: Positions = NOWHERE,
) -> Converted:
    """Parse each form of text for itself, and put the results back in their places."""
    counts: dict[str, int] = {}
    results: list[pa.Array] = []
    for form, mask, texts, as_type in forms:
        if not pc.any(mask, min_count=0).as_py():
            continue
        parsed = _parse(pc.if_else(mask, texts, pa.scalar(None, pa.string())), as_type)
        counts[form] = _filled(parsed)
        if parsed.type != ARROW_TYPES[kind]:
            # Naive read as UTC, or UTC written without its zone: the same microseconds either way.
            parsed = parsed.cast(ARROW_TYPES[kind])
        results.append(parsed)
    converted = pc.coalesce(*results) if results else pa.nulls(len(array), ARROW_TYPES[kind])
    failed = np.setdiff1d(_valid_positions(array), _valid_positions(converted))
    return Converted(converted, failed=failed, rounded=np.setdiff1d(rounded, failed), forms=counts)


def _parse(texts: pa.Array, as_type: pa.DataType) -> pa.Array:
    """Cast texts, leaving null where one has the form but is no date (the 30th of February)."""
    try:
        return texts.cast(as_type)
    except pa.ArrowInvalid:
        parsed = []
        for i in range(len(texts)):
            try:
                parsed.append(texts.slice(i, 1).cast(as_type))
            except pa.ArrowInvalid:
                parsed.append(pa.nulls(1, as_type))
        return pa.concat_arrays(parsed)


def _cut_fraction(array: pa.Array) -> tuple[pa.Array, Positions]:
    """Cut fractions of a second to the six digits that engines keep; return where digits were lost."""
    long = pc.match_substring_regex(array, r"\.\d{7}")
    if not pc.any(long, min_count=0).as_py():
        return array, NOWHERE
    lost = _positions(pc.match_substring_regex(array, r"\.\d{6}0*[1-9]"))
    return pc.replace_substring_regex(array, r"(\.\d{6})\d+", r"\1"), lost


def _all_failed(array: pa.Array, kind: Kind) -> Converted:
    return Converted(pa.nulls(len(array), ARROW_TYPES[kind]), failed=_valid_positions(array))


def _blank(array: pa.Array, positions: Positions) -> pa.Array:
    keep = np.ones(len(array), dtype=bool)
    keep[positions] = False
    return pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))


def _keep_nulls(mask: pa.Array, like: pa.Array) -> pa.Array:
    return pc.if_else(like.is_valid(), mask, pa.scalar(None, pa.bool_()))


def _positions(mask: pa.Array) -> Positions:
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))


def _valid_positions(array: pa.Array) -> Positions:
    return _positions(array.is_valid())


def _filled(array: pa.Array) -> int:
    return len(array) - int(array.null_count)


def _union(parts: Any) -> Positions:
    merged = NOWHERE
    for part in parts:
        merged = np.union1d(merged, part) if len(part) else merged
    return merged.astype(np.int64)


def _replace_each(array: pa.Array, positions: Positions, change: Callable[[str], str]) -> pa.Array:
    texts = array.to_pylist()
    for position in positions:
        texts[position] = change(texts[position])
    return pa.array(texts, pa.string())


def _is_utf8(raw: bytes | None) -> bool:
    try:
        (raw or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _normal_decimal(text: str) -> str:
    value = decimal.Decimal(text)
    if value.is_nan():
        return "NaN"
    if value.is_infinite():
        return "Infinity" if value > 0 else "-Infinity"
    spelled = format(value, "f")
    if "." in spelled:
        spelled = spelled.rstrip("0").rstrip(".")
    return "0" if spelled in ("-0", "0", "") else spelled


# --- JSON -------------------------------------------------------------------------------------------

# Where a fast parser would round: fractions, exponents, and integers that may pass 64 bits.
_DELICATE_NUMBER = re.compile(r"\d[.eE]|\d{16}")


def _is_json(text: str | None) -> bool:
    if text is None:
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _normal_json(text: str) -> str:
    if not _DELICATE_NUMBER.search(text):
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    return _write_json(json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal))


def _write_json(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        digits = value.normalize(_any_size(len(value.as_tuple().digits)))
        return format(digits, "f") if abs(digits.adjusted()) < 16 and not digits.is_zero() else _scientific(digits)
    if isinstance(value, list):
        return "[" + ",".join(_write_json(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write_json(key)}:{_write_json(value[key])}" for key in sorted(value)) + "}"
    return orjson.dumps(value).decode()


def _any_size(digits: int) -> decimal.Context:
    return decimal.Context(prec=max(1, digits), Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def _scientific(value: decimal.Decimal) -> str:
    if value.is_zero():
        return "0"
    sign, digits, exponent = value.as_tuple()
    return f"{'-' if sign else ''}{''.join(map(str, digits))}e{exponent}"


def _repeats_key(text: str) -> bool:
    # An object that names a key twice loses it in parsing, and with it one '":'.
    if text.count('":') == orjson.dumps(orjson.loads(text)).decode().count('":') and '" ' not in text:
        return False
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        repeated = repeated or len({key for key, _ in pairs}) < len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return repeated
