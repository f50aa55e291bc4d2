"""Sums up rows so that equal sums mean equal rows, whatever engine, order or batches they came in.

A row is encoded unambiguously (flags, then fixed values and lengths, then bytes; no separators that a
value could contain), hashed with SHA-256, and the hashes are added modulo 2^256 beside a count. The sum
is the same in any order, and unlike XOR it counts duplicates: two copies of one row differ from two
copies of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration.model import Kind
from migration.spelling import exact_at, normal_decimals, normal_json, show_at
from migration.values import as_storage, convert

Hashes = npt.NDArray[np.uint8]
HASH_BYTES = 32
MODULUS = 2**256
NULL, VALUE, STRAY = 0, 1, 2
# One NaN stands for all, as it does in the engines that hold any.
CANONICAL_NAN = np.float64("nan").view(np.int64)


@dataclass(frozen=True)
class Digest:
    """The number of rows and the sum of their hashes."""

    row_count: int = 0
    total: int = 0

    def __add__(self, other: Digest) -> Digest:
        """Join two disjoint sets of rows."""
        return Digest(self.row_count + other.row_count, (self.total + other.total) % MODULUS)

    def __str__(self) -> str:
        """Write the sum as 64 hexadecimal digits."""
        return f"{self.total:064x}"

    @classmethod
    def of(cls, hashes: Hashes) -> Digest:
        """Sum row hashes, an array of shape (rows, 32)."""
        # 32-bit limbs in 64-bit sums cannot overflow below 2^32 rows a batch.
        limbs = np.ascontiguousarray(hashes).view("<u4").sum(axis=0, dtype=np.uint64)
        total = sum(int(limb) << (32 * position) for position, limb in enumerate(limbs))
        return cls(len(hashes), total % MODULUS)


@dataclass(frozen=True)
class Stray:
    """A value that could not become the kind: how it is shown (long ones cut), and all of it."""

    shown: str
    exact: bytes


@dataclass(frozen=True)
class Canonical:
    """A column in the form in which both sides are compared.

    ``strays`` are the values that could not become the kind, by position: compared and shown as what
    was found, never taken for NULL.
    """

    array: pa.Array
    strays: dict[int, Stray]

    def show(self, position: int) -> str:
        """Write one value for a person."""
        stray = self.strays.get(position)
        return show_at(self.array, position) if stray is None else stray.shown


def canonical(array: pa.Array, own: Kind, kind: Kind, fraction_digits: int | None = None) -> Canonical:
    """Bring a column as read into its compared form; numbers and JSON by value, the rest by bytes."""
    converted = convert(array, own, kind, fraction_digits)
    values = converted.array
    if kind is Kind.DECIMAL:
        values = normal_decimals(values)
    elif kind is Kind.JSON:
        values = normal_json(values)
    failed = converted.failed.tolist()
    return Canonical(values, {at: Stray(show_at(array, at), exact_at(array, at)) for at in failed})


def row_hashes(columns: Sequence[Canonical], row_count: int) -> Hashes:
    """Hash each row of a batch.

    Parameters
    ----------
    columns
        The columns of the batch in the order of the plan, of ``row_count`` values each.

    Returns
    -------
    Hashes
        Array of shape (row_count, 32).
    """
    rows = _encode(columns, row_count)
    if pa.types.is_fixed_size_binary(rows.type):
        width = rows.type.byte_width
        data = memoryview(rows.buffers()[1])
        bounds = range(0, (row_count + 1) * width, width)
    else:
        offsets = np.frombuffer(rows.buffers()[1], np.int32)[rows.offset : rows.offset + row_count + 1]
        data, bounds = memoryview(rows.buffers()[2] or b""), offsets.tolist()
    sha256 = hashlib.sha256
    hashed = b"".join([sha256(data[start:end]).digest() for start, end in pairwise(bounds)])
    return np.frombuffer(hashed, np.uint8).reshape(row_count, HASH_BYTES)


def _encode(columns: Sequence[Canonical], row_count: int) -> pa.Array:
    flags: list[npt.NDArray[np.uint8]] = []
    fixed: list[npt.NDArray[np.int64]] = []
    payloads: list[pa.Array] = []
    for column in columns:
        for array in _flat(column.array):
            flag = array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)
            flag[list(column.strays)] = STRAY
            flags.append(flag)
            if pa.types.is_binary(array.type) or pa.types.is_string(array.type):
                raw = array.cast(pa.binary())
                fixed.append(
                    pc.binary_length(raw).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
                )
                payloads.append(raw)
            else:
                fixed.append(_as_integers(array))
    header = _header(flags, fixed, row_count)
    if any(column.strays for column in columns):
        payloads.append(_strays(columns, row_count))
    if not payloads:
        return header
    return pc.binary_join_element_wise(
        header.cast(pa.binary()),
        *payloads,
        pa.scalar(b"", pa.binary()),
        null_handling="replace",
        null_replacement=b"",
    )


def _flat(array: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(array.type):
        stored = as_storage(array, Kind.ANY)
        return [pc.struct_field(stored, i) for i in range(stored.type.num_fields)]
    return [array]


def _strays(columns: Sequence[Canonical], row_count: int) -> pa.Array:
    """Return what goes behind the encoding of rows that hold strays; nothing behind the others."""
    texts = [b""] * row_count
    for column in columns:
        for position, stray in column.strays.items():
            texts[position] += len(stray.exact).to_bytes(8, "little") + stray.exact
    return pa.array(texts, pa.binary())


def _as_integers(array: pa.Array) -> npt.NDArray[np.int64]:
    if pa.types.is_floating(array.type):
        numbers = array.fill_null(0.0).to_numpy(zero_copy_only=False)
        return np.where(np.isnan(numbers), CANONICAL_NAN, numbers.view(np.int64))
    if pa.types.is_timestamp(array.type) or pa.types.is_time(array.type):
        array = array.view(pa.int64())
    elif pa.types.is_date(array.type):
        array = array.view(pa.int32())
    integers: npt.NDArray[np.int64] = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return integers


def _header(
    flags: list[npt.NDArray[np.uint8]], fixed: list[npt.NDArray[np.int64]], row_count: int
) -> pa.Array:
    width = len(flags) * 9
    header = np.zeros((row_count, max(width, 1)), dtype=np.uint8)
    for position, flag in enumerate(flags):
        header[:, position] = flag
    if fixed:
        numbers = np.stack(fixed, axis=1).astype("<i8")
        header[:, len(flags) : width] = numbers.view(np.uint8).reshape(row_count, -1)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(header.shape[1]), row_count, [None, pa.py_buffer(header.tobytes())]
    )
