"""What an engine or a column may not be able to hold: NUL, broken text, values that are too large."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import NOWHERE, Positions, positions, union
from migration.model import Column, Kind
from migration.spelling import is_utf8, normal_decimals

# In JSON a NUL can also be spelled; an even number of backslashes before it spells backslashes.
_NUL = "\0"
_NUL_IN_JSON = r"(^|[^\\])(\\\\)*\\u0000|\x00"


def invalid_text(array: pa.Array) -> Positions:
    """Return the positions of a text array whose bytes are not UTF-8."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return NOWHERE
    texts = array.cast(pa.binary()).fill_null(b"")
    return np.array([i for i, raw in enumerate(texts) if not is_utf8(raw.as_py())], np.int64)


def holds_nul(array: pa.Array, kind: Kind) -> Positions:
    """Return the positions of texts with a NUL character in them, spelled ones too where it is JSON."""
    raw = array.cast(pa.binary())
    if kind is Kind.JSON:
        return positions(pc.match_substring_regex(raw, _NUL_IN_JSON))
    return positions(pc.match_substring(raw, _NUL))


def unfit(array: pa.Array, column: Column | None) -> Positions:
    """Return the positions of canonical values that are too large for an existing column."""
    if column is None:
        return NOWHERE
    if pa.types.is_binary(array.type):
        limits = [limit for limit in (column.size, column.byte_size) if limit is not None]
        return positions(pc.greater(pc.binary_length(array), min(limits))) if limits else NOWHERE
    if pa.types.is_timestamp(array.type):
        return _outside(array, column)
    if pa.types.is_string(array.type) and column.kind is Kind.TEXT:
        return _unfit_texts(array, column)
    if pa.types.is_string(array.type) and column.kind is Kind.DECIMAL and column.precision is not None:
        form = _decimal_form(column.precision, column.scale or 0)
        return positions(pc.invert(pc.match_substring_regex(normal_decimals(array), form)))
    if pa.types.is_integer(array.type) and column.kind is Kind.INTEGER and column.bits is not None:
        bound = 2 ** (column.bits - 1)
        return positions(pc.or_(pc.less(array, -bound), pc.greater(array, bound - 1)))
    if pa.types.is_floating(array.type) and column.bits == 32:
        single = array.cast(pa.float32(), safe=False).cast(pa.float64())
        return positions(pc.and_(pc.not_equal(single, array), pc.invert(pc.is_nan(array))))
    return NOWHERE


def _unfit_texts(array: pa.Array, column: Column) -> Positions:
    found = []
    if column.size is not None:
        found.append(positions(pc.greater(pc.utf8_length(array), column.size)))
    if column.byte_size is not None:
        found.append(positions(pc.greater(pc.binary_length(array.cast(pa.binary())), column.byte_size)))
    if column.largest_character is not None:
        beyond = rf"[^\x{{0}}-\x{{{column.largest_character:x}}}]"
        found.append(positions(pc.match_substring_regex(array, beyond)))
    if column.choices:
        unknown = pc.invert(pc.is_in(array, pa.array(column.choices)))
        found.append(positions(pc.and_(unknown, array.is_valid())))
    return union(found)


def _outside(array: pa.Array, column: Column) -> Positions:
    """Return the positions of times before the first or after the last that a column holds."""
    micros = array.view(pa.int64())
    found = []
    if column.earliest is not None:
        found.append(positions(pc.less(micros, column.earliest)))
    if column.latest is not None:
        found.append(positions(pc.greater(micros, column.latest)))
    return union(found)


def _decimal_form(precision: int, scale: int) -> str:
    """Return the pattern of the normal decimals that fit; a limited decimal holds NaN, but no infinity."""
    whole = precision - scale
    if scale <= 0:
        form = rf"0|-?\d{{1,{precision}}}0{{{-scale}}}"
    elif whole > 0:
        form = rf"-?\d{{1,{whole}}}(\.\d{{1,{scale}}})?"
    else:
        # The digits of numeric(2, 4) are the third and fourth behind the point.
        form = rf"-?0(\.0{{{-whole}}}\d{{1,{precision}}})?"
    return f"^({form}|NaN)$"
