"""Writes single values as JSON and reads them back exactly, whatever JSON has no form for."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from migration.model import ARROW_TYPES, STORAGE, Kind
from migration.spelling import is_utf8

_TIMES = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT)
_REALS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(array: pa.Array, position: int) -> Any:
    """Return the value at a position as JSON knows it."""
    if pa.types.is_struct(array.type):
        fields = [array.field(i) for i in range(array.type.num_fields)]
        array = next((field for field in fields if field[position].is_valid), fields[0])
    scalar = array[position]
    if not scalar.is_valid:
        return None
    if pa.types.is_string(array.type):
        raw = scalar.cast(pa.binary()).as_py()
        return raw.decode() if is_utf8(raw) else {"text-hex": raw.hex()}
    if pa.types.is_binary(array.type):
        return {"hex": scalar.as_py().hex()}
    if pa.types.is_temporal(array.type):
        return {"time": _written(scalar)}
    value = scalar.as_py()
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": next(word for word, real in _REALS.items() if str(real) == str(value))}
    return value


def from_json(values: Sequence[Any], own: Kind) -> pa.Array:
    """Return values that :func:`to_json` has written, and that may have been mended, as an array of a kind.

    Raises
    ------
    ValueError
        When one is no value of this kind.
    """
    plain = [_plain(value) for value in values]
    if own is not Kind.ANY:
        return _column([_as_own(value, own) for value in plain], ARROW_TYPES[own])
    classes = {"integer": int, "real": float, "text": str, "blob": bytes}
    for value in plain:
        if isinstance(value, (_Time, bool)):
            raise ValueError("this is no value of the source")  # noqa: TRY004 - a value, not a type of ours
    parts = [[value if _class_of(value) == name else None for value in plain] for name in classes]
    arrays = [_column(part, STORAGE.field(at).type) for at, part in enumerate(parts)]
    return pa.StructArray.from_arrays(arrays, fields=[STORAGE.field(at) for at in range(len(arrays))])


class _Time(str):
    """A time as it is written."""

    __slots__ = ()


class _Raw(bytes):
    """The bytes of a text that is no UTF-8."""

    __slots__ = ()


def _plain(value: Any) -> Any:
    """Return what stands for a value; an object with one known name is a form that JSON lacks."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a list is no value")  # noqa: TRY004 - as above
        return value
    ((form, written),) = value.items() if len(value) == 1 else (("", ""),)
    if not isinstance(written, str) or form not in ("hex", "text-hex", "real", "time"):
        raise ValueError(f"{value!r} is no value: write hex, text-hex, real or time")
    if form in ("hex", "text-hex"):
        raw = bytes.fromhex(written)
        return raw if form == "hex" else _Raw(raw)
    if form == "real":
        if written not in _REALS:
            raise ValueError(f"{written!r} is none of {', '.join(_REALS)}")
        return _REALS[written]
    return _Time(written)


def _class_of(value: Any) -> str:
    if isinstance(value, (_Raw, str)):
        return "text"
    if isinstance(value, bytes):
        return "blob"
    return "real" if isinstance(value, float) else "integer" if isinstance(value, int) else ""


def _as_own(value: Any, own: Kind) -> Any:
    """Return a value as the kind it is said to be, or say that it is none."""
    if value is None:
        return None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        Kind.BOOLEAN: isinstance(value, bool),
        Kind.INTEGER: is_number,
        Kind.FLOAT: is_number or isinstance(value, float),
        Kind.BYTES: isinstance(value, bytes) and not isinstance(value, _Raw),
    }.get(own, isinstance(value, _Time) if own in _TIMES else isinstance(value, (str, _Raw)))
    if not fits:
        raise ValueError(f"{value!r} is no {own.value}")
    if own in _TIMES:
        return _read(value, ARROW_TYPES[own])
    return float(value) if own is Kind.FLOAT else value


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_string(kind):
            raw = [value.encode() if isinstance(value, str) else value for value in values]
            return pa.array(raw, pa.binary()).view(pa.string())
        return pa.array(values, kind)
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error


def _written(time: pa.Scalar) -> str:
    """Write a time so that it can be read back: in digits of the calendar, or as Arrow's number."""
    text = str(time.cast(pa.string()).as_py())
    try:
        is_exact = _read(text, time.type) == time
    except ValueError:
        is_exact = False
    width = pa.int32() if pa.types.is_date32(time.type) else pa.int64()
    return text if is_exact else f"number {time.cast(width).as_py()}"


def _read(text: str, kind: pa.DataType) -> pa.Scalar:
    try:
        if text.startswith("number "):
            width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
            return pa.scalar(int(text.removeprefix("number ")), width).cast(kind)
        if pa.types.is_time(kind):
            # Arrow writes these, and does not read them.
            return pa.scalar(dt.time.fromisoformat(text), kind)
        return pa.scalar(str(text)).cast(kind)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{text!r} is no time ({error})") from error
