"""Which values cannot go, and why: one set of rules, for counting them and for setting them aside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import NOWHERE, Converted, Positions, positions, union
from migration.limits import holds_nul, invalid_text, unfit
from migration.model import Column, Kind
from migration.traits import Traits

# Hazards that are about rows: where these can be set aside, the others go.
OF_ROWS = frozenset(
    {
        "nul-in-text",
        "invalid-utf8",
        "nan-not-held",
        "infinity-not-held",
        "negative-zero-not-held",
        "value-not-convertible",
        "value-too-large",
        "null-not-allowed",
    }
)


def examined(array: pa.Array, converted: Converted, kind: Kind, there: Column | None) -> dict[str, Positions]:
    """Return where a column, as it was read and as it was converted, holds what some target cannot take.

    ``there`` is the column it goes into, where its limits are known.
    """
    texts = texts_of(array)
    return {
        "failed": converted.failed,
        "nul": holds_nul(texts, kind),
        "invalid_text": invalid_text(texts),
        "unfit": unfit(converted.array, there),
        "nan": _nans(array, kind),
        "infinity": union(positions(pc.is_inf(part)) for part in _doubles(array)),
        "negative_zero": union(positions(_is_negative_zero(part)) for part in _doubles(array)),
    }


def blocking(kind: Kind, target: Traits) -> dict[str, str]:
    """Return what of :func:`examined` keeps a value from going as this kind, with the name of the hazard."""
    is_text = kind in (Kind.TEXT, Kind.JSON)
    rules = {
        "nul": ("nul-in-text", is_text and not target.text_holds_nul),
        "invalid_text": ("invalid-utf8", kind is not Kind.ANY and not target.text_holds_any_bytes),
        "failed": ("value-not-convertible", True),
        "nan": ("nan-not-held", kind is not Kind.DECIMAL and not target.holds_nan),
        "infinity": ("infinity-not-held", kind is Kind.FLOAT and not target.holds_infinity),
        "negative_zero": ("negative-zero-not-held", kind is Kind.FLOAT and not target.holds_negative_zero),
        "unfit": ("value-too-large", True),
    }
    return {what: hazard for what, (hazard, is_so) in rules.items() if is_so}


def allows_null(there: Column) -> bool:
    """Tell whether a row may come without a value for this column of an existing table."""
    return there.nullable or there.generated is not None


def refused(
    array: pa.Array, converted: Converted, kind: Kind, there: Column, target: Traits, *, is_new: bool
) -> Mapping[str, Positions]:
    """Return where a column holds what cannot go, by the name of the hazard."""
    found = examined(array, converted, kind, there)
    by_hazard = {hazard: found[what] for what, hazard in blocking(kind, target).items()}
    # What is no text is no value of any kind; one reason will do.
    broken = by_hazard.get("invalid-utf8", NOWHERE)
    by_hazard["value-not-convertible"] = np.setdiff1d(by_hazard["value-not-convertible"], broken)
    if not is_new and not allows_null(there):
        by_hazard["null-not-allowed"] = positions(_is_null(array))
    return {hazard: where for hazard, where in by_hazard.items() if len(where)}


def texts_of(array: pa.Array) -> pa.Array:
    """Return the texts of a column as it was read; null where there is something else."""
    if pa.types.is_struct(array.type):
        position = array.type.get_field_index("text")
        return pc.struct_field(array, position) if position >= 0 else pa.nulls(len(array), pa.string())
    return array if pa.types.is_string(array.type) else pa.nulls(len(array), pa.string())


def _is_null(array: pa.Array) -> pa.Array:
    if not pa.types.is_struct(array.type):
        return array.is_null()
    fields = [pc.struct_field(array, i) for i in range(array.type.num_fields)]
    return pa.array(
        np.logical_and.reduce([field.is_null().to_numpy(zero_copy_only=False) for field in fields])
    )


def _nans(array: pa.Array, kind: Kind) -> Positions:
    if kind is Kind.DECIMAL and pa.types.is_string(array.type):
        return positions(pc.equal(array, "NaN"))
    return positions(pc.is_nan(array)) if pa.types.is_floating(array.type) else NOWHERE


def _is_negative_zero(array: pa.Array) -> pa.Array:
    # One divided by it tells the sign.
    return pc.and_(pc.equal(array, 0.0), pc.less(pc.divide(1.0, array), 0.0))


def _doubles(array: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(array.type):
        position = array.type.get_field_index("real")
        return [pc.struct_field(array, position)] if position >= 0 else []
    return [array] if pa.types.is_floating(array.type) else []
