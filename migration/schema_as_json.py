"""Writes a schema as plain data and reads it back as the same frozen values."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

from migration.model import Schema


def schema_as_data(schema: Schema) -> dict[str, Any]:
    """Return a schema as JSON knows it; what has its usual value is left out."""
    data: dict[str, Any] = _plain(schema)
    return data


def schema_from_data(data: Mapping[str, Any]) -> Schema:
    """Return the schema that :func:`schema_as_data` has written.

    Raises
    ------
    ValueError, TypeError, KeyError
        When it was not.
    """
    schema: Schema = _built(Schema, data)
    return schema


def _plain(item: Any) -> Any:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {
            field.name: _plain(getattr(item, field.name))
            for field in dataclasses.fields(item)
            if getattr(item, field.name) != field.default
        }
    if isinstance(item, enum.Enum):
        return item.value
    return [_plain(entry) for entry in item] if isinstance(item, tuple) else item


def _built(wanted: Any, data: Any) -> Any:
    """Return data as the type that a field is declared with."""
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        hints = typing.get_type_hints(wanted)
        return wanted(**{name: _built(hints[name], value) for name, value in data.items()})
    if typing.get_origin(wanted) is tuple:
        (entry, _) = typing.get_args(wanted)
        return tuple(_built(entry, value) for value in data)
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        (other,) = (choice for choice in typing.get_args(wanted) if choice is not type(None))
        return None if data is None else _built(other, data)
    if issubclass(wanted, enum.Enum):
        return wanted(data)
    if not isinstance(data, wanted):
        raise TypeError(f"{data!r} is no {wanted.__name__}")
    return data
