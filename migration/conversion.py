"""The outcome of turning an array into another kind, and the moves that every conversion is made of.

Where something is so in an array is told by positions: an array of indexes, empty for nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration.model import ARROW_TYPES, Kind

Positions: TypeAlias = npt.NDArray[np.int64]
NOWHERE: Positions = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Converted:
    """An array in its canonical type, with the positions that did not arrive as they were."""

    array: pa.Array
    failed: Positions = field(default_factory=lambda: NOWHERE)
    changed: Positions = field(default_factory=lambda: NOWHERE)
    rounded: Positions = field(default_factory=lambda: NOWHERE)
    forms: dict[str, int] = field(default_factory=dict)


def where(
    array: pa.Array, known: pa.Array, become: Callable[[pa.Array], pa.Array], kind: Kind, form: str = ""
) -> Converted:
    """Convert the known values and report the others as failed."""
    failed = positions(pc.invert(known))
    kept = blank(array, failed) if len(failed) else array
    converted = become(kept).cast(ARROW_TYPES[kind])
    return Converted(converted, failed=failed, forms={form: filled_count(converted)} if form else {})


def all_failed(array: pa.Array, kind: Kind) -> Converted:
    """Report every value as failed."""
    return Converted(pa.nulls(len(array), ARROW_TYPES[kind]), failed=filled(array))


def blank(array: pa.Array, at: Positions) -> pa.Array:
    """Return the array with nulls at these positions."""
    keep = np.ones(len(array), dtype=bool)
    keep[at] = False
    return pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))


def keep_nulls(mask: pa.Array, like: pa.Array) -> pa.Array:
    """Return a mask that is null where ``like`` is."""
    return pc.if_else(like.is_valid(), mask, pa.scalar(None, pa.bool_()))


def positions(mask: pa.Array) -> Positions:
    """Return where a mask is true."""
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False))


def filled(array: pa.Array) -> Positions:
    """Return where an array is not null."""
    return positions(array.is_valid())


def has_value(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell of each value whether it is one; what travels as several classes is none when each is empty."""
    if not pa.types.is_struct(array.type):
        return np.array(array.is_valid().to_numpy(zero_copy_only=False))
    parts = [pc.struct_field(array, at) for at in range(array.type.num_fields)]
    return np.array(np.logical_or.reduce([has_value(part) for part in parts]))


def filled_count(array: pa.Array) -> int:
    """Count the values that are not null."""
    return len(array) - int(array.null_count)


def union(parts: Iterable[Positions]) -> Positions:
    """Return the positions that are in any of the parts, in order."""
    merged = NOWHERE
    for part in parts:
        merged = np.union1d(merged, part)
    return merged.astype(np.int64)
