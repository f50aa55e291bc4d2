"""Reads a schema through SQLAlchemy's inspector; what an engine alone knows comes from its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Inspector
from sqlalchemy.engine.interfaces import ReflectedColumn

from migration.model import Check, Column, ForeignKey, Index, IndexPart, Table, Unique


def reflect_table(
    inspector: Inspector,
    name: str,
    *,
    dialect_name: str,
    to_column: Callable[[ReflectedColumn], Column],
    indexes: tuple[Index, ...] | None = None,
    checks: tuple[Check, ...] | None = None,
    uniques: tuple[Unique, ...] | None = None,
) -> Table:
    """Return one table with its keys, rules and indexes.

    Parameters
    ----------
    dialect_name
        Prefix of the inspector's own options, such as the condition of a partial index.
    to_column
        Makes a column of what the inspector says of it; only the backend knows its types.
    indexes, checks, uniques
        Given when the backend knows better than the inspector, which leaves out expressions on
        some engines.
    """
    primary = inspector.get_pk_constraint(name)
    if uniques is None:
        uniques = tuple(
            Unique(unique["name"], tuple(unique["column_names"]))
            for unique in sorted(inspector.get_unique_constraints(name), key=_by_name)
        )
    if indexes is None:
        indexes = tuple(
            _index(dict(index), dialect_name)
            for index in sorted(inspector.get_indexes(name), key=_by_name)
            if not index.get("duplicates_constraint")
        )
    if checks is None:
        checks = tuple(
            Check(check["name"], str(check["sqltext"]))
            for check in sorted(inspector.get_check_constraints(name), key=_by_name)
        )
    return Table(
        name=name,
        columns=tuple(to_column(column) for column in inspector.get_columns(name)),
        primary_key=tuple(primary["constrained_columns"]),
        uniques=uniques,
        checks=checks,
        foreign_keys=tuple(
            _foreign_key(dict(key)) for key in sorted(inspector.get_foreign_keys(name), key=_by_columns)
        ),
        indexes=indexes,
    )


def _foreign_key(reflected: Mapping[str, Any]) -> ForeignKey:
    options = reflected.get("options") or {}
    return ForeignKey(
        name=reflected["name"],
        columns=tuple(reflected["constrained_columns"]),
        target_table=reflected["referred_table"],
        target_columns=tuple(reflected["referred_columns"]),
        on_delete=_action(options.get("ondelete")),
        on_update=_action(options.get("onupdate")),
    )


def _action(action: str | None) -> str | None:
    return None if action is None or action.upper() == "NO ACTION" else action.upper()


def _index(reflected: Mapping[str, Any], dialect_name: str) -> Index:
    options = reflected.get("dialect_options") or {}
    texts = reflected.get("expressions") or reflected["column_names"]
    sorting = reflected.get("column_sorting") or {}
    parts = tuple(
        IndexPart(
            text=str(text),
            is_expression=column is None,
            descending="desc" in sorting.get(text, ()),
        )
        for text, column in zip(texts, reflected["column_names"], strict=False)
    )
    condition = options.get(f"{dialect_name}_where")
    method = options.get(f"{dialect_name}_using")
    return Index(
        name=reflected["name"],
        parts=parts,
        unique=bool(reflected["unique"]),
        condition=None if condition is None else str(condition),
        method=None if method in (None, "btree") else str(method),
    )


def _by_name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"])


def _by_columns(entry: Mapping[str, Any]) -> str:
    return str(entry["constrained_columns"])
