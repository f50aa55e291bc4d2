"""How values are written: alike where they are equal, to be compared; and readable, to be shown."""

from __future__ import annotations

import decimal
import functools
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import NOWHERE, Positions, positions

# What a report shows of one value; the rest is told by its length.
SHOWN_BYTES = 40
SHOWN_CHARACTERS = 80
# JSON texts whose normal spelling is kept for the next batch: some four megabytes at the most.
REMEMBERED_TEXTS = 4096
REMEMBERED_CHARACTERS = 512


def normal_decimals(array: pa.Array) -> pa.Array:
    """Spell equal decimals alike: no exponent, no trailing zeros, no leading plus."""
    plain = pc.replace_substring_regex(array, r"^(-?\d+)\.0*$", r"\1")
    plain = pc.replace_substring_regex(plain, r"^(-?\d+\.\d*[1-9])0+$", r"\1")
    normal = pc.match_substring_regex(plain, r"^(0|-?[1-9]\d*|-?(0|[1-9]\d*)\.\d*[1-9])$")
    odd = positions(pc.invert(normal))
    return _replace_each(plain, odd, _normal_decimal) if len(odd) else plain


def normal_json(array: pa.Array) -> pa.Array:
    """Spell JSON texts of equal meaning alike: keys sorted, no spaces, numbers by value.

    Numbers keep every digit (``1.10`` equals ``1.1`` and differs from ``1.1000000000000001``).
    """
    encoded = array.dictionary_encode()
    meanings = [_remembered(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(meanings, pa.string()).take(encoded.indices)


def repeated_keys(array: pa.Array) -> Positions:
    """Return the positions of JSON texts in which an object names a key twice."""
    encoded = array.dictionary_encode()
    twice = {i for i, text in enumerate(encoded.dictionary) if _repeats_key(text.as_py())}
    if not twice:
        return NOWHERE
    return np.flatnonzero(np.isin(encoded.indices.fill_null(-1).to_numpy(), list(twice)))


def is_json(text: str) -> bool:
    """Tell whether a text is JSON, as strictly as the engines that check it."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def is_utf8(raw: bytes) -> bool:
    """Tell whether bytes are a text."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def show(value: Any) -> str:
    """Write a value for a person: bytes as hex, long ones cut."""
    if isinstance(value, bytes):
        text = f"x'{value[:SHOWN_BYTES].hex()}'"
        return text if len(value) <= SHOWN_BYTES else f"{text} ({len(value)} bytes)"
    if isinstance(value, str):
        if len(value) <= SHOWN_CHARACTERS:
            return repr(value)
        return f"{value[:SHOWN_CHARACTERS]!r} ({len(value)} characters)"
    return str(value)


def show_at(array: pa.Array, position: int) -> str:
    """Write the value at a position for a person; text that is not UTF-8 as hex, whatever it is."""
    column = _set_field(array, position)
    scalar = column[position]
    if pa.types.is_string(column.type) and scalar.is_valid:
        raw = scalar.cast(pa.binary()).as_py()
        return show(raw.decode() if is_utf8(raw) else raw)
    try:
        return show(scalar.as_py())
    except (OverflowError, ValueError):
        # Python's calendar ends at the years 1 and 9999; Arrow's and the engines' do not.
        return str(scalar.cast(pa.string()).as_py())


def exact_at(array: pa.Array, position: int) -> bytes:
    """Name the value at a position so that only equal values of one type have the same name."""
    column = _set_field(array, position)
    scalar = column[position]
    if (pa.types.is_string(column.type) or pa.types.is_binary(column.type)) and scalar.is_valid:
        raw: bytes = scalar.cast(pa.binary()).as_py()
        return f"{column.type} ".encode() + raw
    return f"{column.type} {show_at(column, position)}".encode()


def _set_field(array: pa.Array, position: int) -> pa.Array:
    """Return the field of a struct that is set at a position; an array that is no struct as it is."""
    if not pa.types.is_struct(array.type):
        return array
    fields = [array.field(i) for i in range(array.type.num_fields)]
    return next((field for field in fields if field[position].is_valid), fields[0])


# --- decimals ---------------------------------------------------------------------------------------


def _replace_each(array: pa.Array, at: Positions, change: Callable[[str], str]) -> pa.Array:
    texts = array.to_pylist()
    for position in at:
        texts[position] = change(texts[position])
    return pa.array(texts, pa.string())


def _normal_decimal(text: str) -> str:
    value = decimal.Decimal(text)
    if value.is_nan():
        return "NaN"
    if value.is_infinite():
        return "Infinity" if value > 0 else "-Infinity"
    spelled = format(value, "f")
    if "." in spelled:
        spelled = spelled.rstrip("0").rstrip(".")
    return "0" if spelled == "-0" else spelled


# --- JSON -------------------------------------------------------------------------------------------

# Where a fast parser would round: fractions, exponents, and integers that may pass 64 bits.
_DELICATE_NUMBER = re.compile(r"\d[.eE]|\d{16}")
# A text, and the colon that makes it a name.
_TEXT_OR_NAME = re.compile(r'"(?:[^"\\]++|\\.)*+"(\s*:)?', re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
# Numbers of fewer digits are written in full, so that 100 and 1e2 are the same.
_PLAIN_DIGITS = 16


def _remembered(text: str) -> str:
    """Spell a text; short ones are remembered, because the same few come back batch after batch."""
    return _remember(text) if len(text) <= REMEMBERED_CHARACTERS else _normal_json(text)


@functools.lru_cache(maxsize=REMEMBERED_TEXTS)
def _remember(text: str) -> str:
    return _normal_json(text)


def _normal_json(text: str) -> str:
    if not _DELICATE_NUMBER.search(text):
        spelled = _reprint(text)
        if spelled is not None:
            return spelled
    return _read(text)[0]


def _repeats_key(text: str) -> bool:
    spelled = _reprint(text)
    # An object that names a key twice loses one of them in parsing.
    return _read(text)[1] if spelled is None else _name_count(spelled) < _name_count(text)


def _name_count(text: str) -> int:
    return sum(map(bool, _TEXT_OR_NAME.findall(text)))


def _reprint(text: str) -> str | None:
    """Let the fast parser write a text anew; ``None`` where it gives up (depth, half a character)."""
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def _read(text: str) -> tuple[str, bool]:
    """Return a JSON text in its normal spelling, and whether an object in it names a key twice.

    Piece by piece on a stack of its own, because a nesting that an engine accepts may be deeper than
    Python's recursion goes.
    """
    unclosed: list[list[str]] = [[]]
    repeats = False
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece in ("{", "["):
            unclosed.append([])
        elif piece == "]":
            entries = unclosed.pop()
            unclosed[-1].append(f"[{','.join(entries)}]")
        elif piece == "}":
            entries = unclosed.pop()
            pairs = dict(zip(entries[::2], entries[1::2], strict=True))
            repeats = repeats or 2 * len(pairs) < len(entries)
            unclosed[-1].append("{" + ",".join(f"{key}:{pairs[key]}" for key in _sorted(pairs)) + "}")
        elif piece not in (",", ":"):
            unclosed[-1].append(_scalar(piece))
    return unclosed[0][0], repeats


def _sorted(keys: dict[str, str]) -> list[str]:
    # By what they say, as the fast parser does, and not by how that is escaped.
    return sorted(keys, key=lambda key: json.loads(key) if "\\" in key else key[1:-1])


def _scalar(token: str) -> str:
    if token.startswith('"'):
        return token if "\\" not in token else _string(token)
    return token if token in ("true", "false", "null") else _number(token)


def _string(token: str) -> str:
    value = json.loads(token)
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # Half of a character, which only its escape can spell.
        return json.dumps(value)


def _number(token: str) -> str:
    try:
        value = decimal.Decimal(token)
    except decimal.InvalidOperation:
        # An exponent of more digits than a number of atoms; there is no other way to write it.
        return token
    if value.is_zero():
        return "0"
    digits = value.normalize(_any_size(len(value.as_tuple().digits)))
    if abs(digits.adjusted()) < _PLAIN_DIGITS:
        return format(digits, "f")
    sign, figures, exponent = digits.as_tuple()
    return f"{'-' if sign else ''}{''.join(map(str, figures))}e{exponent}"


def _any_size(digits: int) -> decimal.Context:
    return decimal.Context(prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
