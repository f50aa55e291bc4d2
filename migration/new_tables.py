"""Plans the tables that the target does not have yet: types from the declaration and from what is there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

from migration.fitting import Findings
from migration.model import (
    Check,
    Column,
    ColumnProfile,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Table,
    TableProfile,
    Unique,
)
from migration.plan import ColumnPlan, Severity, TablePair, label
from migration.sizes import Sizes, why_not_taken, why_too_long
from migration.traits import Traits
from migration.translation import Untranslatable, is_current_time, translate_expression


class NewTables:
    """Plans new tables one by one and notes what they will lack.

    Parameters
    ----------
    source, target
        What both engines can hold and do.
    findings
        Where hazards are noted.
    pairs
        Every table that goes beside its place in the target: foreign keys name tables by it.
    absent
        Tables that neither go nor are there, with the reason.
    """

    def __init__(
        self,
        source: Traits,
        target: Traits,
        findings: Findings,
        pairs: Sequence[TablePair],
        absent: Mapping[str, str],
    ) -> None:
        self._absent = absent
        self._source, self._target, self._findings = source, target, findings
        self._places = {pair.source.name: (pair.target_name, renames(pair)) for pair in pairs}
        self._constraint_names: set[str] = set()
        self._index_names = {pair.target_name for pair in pairs}
        self._sizes = Sizes(target, findings)
        self._same_dialect = source.dialect == target.dialect

    def plan(self, pair: TablePair, profile: TableProfile) -> tuple[Table, tuple[ColumnPlan, ...]]:
        """Plan one table: what it will be, and each column's way."""
        source, names = pair.source, renames(pair)
        kinds = {name: found.kind for name, found in profile.columns.items()}
        primary_key = self._primary_key(source, profile)
        # Some engines let a primary key be NULL, and tables that came from one keep that among themselves.
        filled = () if self._target.keeps_storage_classes else primary_key
        columns = []
        for column, _ in pair.columns:
            chosen = pair.types.get(column.name)
            new = self._column(source, column, profile.columns[column.name], kinds, chosen)
            target = dataclasses.replace(
                new, name=names[column.name], nullable=column.nullable and column.name not in filled
            )
            columns.append(ColumnPlan(column, target, kinds[column.name]))
        columns = self._sizes.within_a_row(source, columns)
        target_table = Table(
            name=pair.target_name,
            columns=tuple(column.target for column in columns),
            primary_key=tuple(names[name] for name in primary_key),
            uniques=tuple(self._uniques(source, profile, names)),
            checks=tuple(self._checks(source, kinds)),
            foreign_keys=tuple(self._foreign_keys(source, profile, names)),
            indexes=tuple(self._indexes(source, profile, kinds, names)),
        )
        return target_table, tuple(columns)

    # --- columns --------------------------------------------------------------------------------------

    def _column(
        self,
        table: Table,
        column: Column,
        found: ColumnProfile,
        kinds: Mapping[str, Kind],
        chosen: Column | None,
    ) -> Column:
        kind = found.kind
        if chosen is not None:
            size, precision, scale = chosen.size, chosen.precision, chosen.scale
        else:
            size = self._sizes.size(table, column, found)
            precision, scale = self._sizes.precision(table, column, found)
        as_text = self._sizes.is_too_long_a_decimal(table, column, found)
        if as_text:
            size = self._sizes.size(table, column, dataclasses.replace(found, kind=Kind.TEXT))
        if not self._same_dialect and column.collation:
            self._findings.add(
                "collation-not-carried",
                Severity.HAZARD,
                f"Compares with {column.collation}; the new column compares bytes, so other texts are equal "
                "and sorted",
                table=table.name,
                column=column.name,
            )
        return Column(
            name=column.name,
            kind=Kind.TEXT if as_text else kind,
            declared=column.declared,
            nullable=column.nullable,
            size=size,
            bits=column.bits,
            precision=None if as_text else precision,
            scale=None if as_text else scale,
            default=self._default(table, column, kind, kinds),
            generated=self._generated(table, column, kinds),
            automatic=self._automatic(table, column, kind),
            always_automatic=column.always_automatic,
            never_reuses=column.never_reuses or not self._source.keeps_storage_classes,
            collation=column.collation if self._same_dialect else None,
        )

    def _automatic(self, table: Table, column: Column, kind: Kind) -> bool:
        if not column.automatic:
            return False
        # Where a key is part of the table, only a key of its own numbers itself.
        if kind in (Kind.INTEGER, Kind.ANY) and (
            self._target.alters_constraints or table.primary_key == (column.name,)
        ):
            return True
        self._findings.add(
            "numbering-not-carried",
            Severity.HAZARD,
            "Numbers itself in the source, which the new column cannot: every insert must name a number",
            table=table.name,
            column=column.name,
        )
        return False

    def _default(self, table: Table, column: Column, kind: Kind, kinds: Mapping[str, Kind]) -> str | None:
        if column.default is None or column.automatic or column.default.upper() == "NULL":
            return None
        if not self._same_dialect and kind is Kind.BOOLEAN and column.default in ("0", "1"):
            return "TRUE" if column.default == "1" else "FALSE"
        if not self._same_dialect and is_current_time(column.default) and kind is Kind.INSTANT:
            return self._target.current_instant
        return self._translated("default", table, column.name, column.default, kinds)

    def _generated(self, table: Table, column: Column, kinds: Mapping[str, Kind]) -> str | None:
        if column.generated is None:
            return None
        return self._translated("generated", table, column.name, column.generated, kinds)

    # --- constraints ----------------------------------------------------------------------------------

    def _primary_key(self, table: Table, profile: TableProfile) -> tuple[str, ...]:
        nulls = sum(profile.columns[name].null_count for name in table.primary_key)
        reason = self._sizes.why_no_key(table, table.primary_key, profile)
        if nulls and not self._target.keeps_storage_classes:
            reason = "rows have no value in it, which the target does not allow"
        if not reason:
            return table.primary_key
        self._findings.add(
            "primary-key-not-carried",
            Severity.HAZARD,
            f"The new table has no primary key: {reason}",
            table=table.name,
            count=nulls,
        )
        return ()

    def _uniques(self, table: Table, profile: TableProfile, names: Mapping[str, str]) -> Iterable[Unique]:
        for unique in table.uniques:
            columns = ", ".join(unique.columns)
            if reason := self._sizes.why_no_key(table, unique.columns, profile):
                self._findings.not_carried("unique", table.name, columns, reason)
            else:
                name = self._index_name(table, unique.name) if unique.name else None
                yield Unique(self._fitting_name(table, name), tuple(names[name] for name in unique.columns))

    def _checks(self, table: Table, kinds: Mapping[str, Kind]) -> Iterable[Check]:
        for check in table.checks:
            name = check.name or check.condition
            condition = self._translated("check", table, name, check.condition, kinds)
            if condition is not None:
                yield Check(self._fitting_name(table, check.name), condition)

    def _foreign_keys(
        self, table: Table, profile: TableProfile, names: Mapping[str, str]
    ) -> Iterable[ForeignKey]:
        for key in table.foreign_keys:
            if key.target_table in self._absent:
                self._findings.add(
                    "foreign-key-not-carried",
                    Severity.HAZARD,
                    f"{label(key)} cannot be made: {key.target_table} is {self._absent[key.target_table]}",
                    table=table.name,
                )
                continue
            count, examples = profile.orphans.get(label(key), (0, ()))
            if count:
                self._findings.add(
                    "foreign-key-not-carried",
                    Severity.HAZARD,
                    f"{count} rows refer to a row that is not there, so {label(key)} cannot be made; "
                    "all rows are carried",
                    table=table.name,
                    count=count,
                    examples=examples,
                )
                continue
            other, other_names = self._places.get(key.target_table, (key.target_table, {}))
            yield dataclasses.replace(
                key,
                name=self._fitting_name(table, key.name),
                columns=tuple(names[name] for name in key.columns),
                target_table=other,
                target_columns=tuple(other_names.get(name, name) for name in key.target_columns),
            )

    # --- indexes --------------------------------------------------------------------------------------

    def _indexes(
        self, table: Table, profile: TableProfile, kinds: Mapping[str, Kind], names: Mapping[str, str]
    ) -> Iterable[Index]:
        for index in table.indexes:
            if reason := self._why_no_index(table, index, profile):
                self._findings.not_carried("index", table.name, index.name, reason)
                continue
            condition = index.condition
            if condition is not None and not self._target.partial_indexes and not index.unique:
                sentence = (
                    f"{index.name} becomes an index of all rows, because the target has none of some rows"
                )
                self._findings.add("index-of-all-rows", Severity.NOTICE, sentence, table=table.name)
                index = dataclasses.replace(index, condition=None)  # noqa: PLW2901
                condition = None
            if condition is not None:
                condition = self._translated("index", table, index.name, condition, kinds)
            found = [self._part(part, table, index, kinds, names) for part in index.parts]
            parts = tuple(part for part in found if part is not None)
            if (condition is None) == (index.condition is None) and len(parts) == len(index.parts):
                name = self._index_name(table, index.name)
                yield dataclasses.replace(index, name=name, condition=condition, parts=parts)

    def _why_no_index(self, table: Table, index: Index, profile: TableProfile) -> str:
        """Return why an index cannot be made, or nothing."""
        if not self._same_dialect:
            special = sorted({part.collation for part in index.parts if part.collation})
            special += [index.method] if index.method else []
            if special:
                return f"{', '.join(special)} has no counterpart"
        if index.unique and index.condition is not None and not self._target.partial_indexes:
            return f"it is unique where {index.condition}, and the target has no rules for some rows only"
        if reason := why_too_long(index.name, self._target) or why_not_taken(index.name, self._target):
            return reason
        columns = [part.text for part in index.parts if not part.is_expression]
        return self._sizes.why_no_key(table, columns, profile)

    def _part(
        self,
        part: IndexPart,
        table: Table,
        index: Index,
        kinds: Mapping[str, Kind],
        names: Mapping[str, str],
    ) -> IndexPart | None:
        if not part.is_expression:
            return dataclasses.replace(part, text=names[part.text])
        text = self._translated("index", table, index.name, part.text, kinds)
        return None if text is None else dataclasses.replace(part, text=text)

    def _index_name(self, table: Table, name: str) -> str:
        """Return a name that no other index has, where the target tells them apart by their names alone."""
        fitting = name
        if self._target.index_names_are_global and name in self._index_names:
            fitting = f"{table.name}_{name}"
            sentence = f"The index {name} becomes {fitting}, because another one is called {name}, too"
            self._findings.add("name-not-kept", Severity.NOTICE, sentence, table=table.name)
        self._index_names.add(fitting)
        return fitting

    # --- pieces ---------------------------------------------------------------------------------------

    def _fitting_name(self, table: Table, name: str | None) -> str | None:
        """Return a constraint's name, or none where it is too long and a made-up one has to do."""
        is_kept = name not in self._constraint_names or not self._target.constraint_names_are_global
        if name is None or (
            is_kept and not (why_too_long(name, self._target) or why_not_taken(name, self._target))
        ):
            self._constraint_names.add(name or "")
            return name
        self._findings.add(
            "name-not-kept",
            Severity.NOTICE,
            f"The constraint {name} gets another name, because the target cannot have it under this one",
            table=table.name,
        )
        return None

    def _translated(
        self, what: str, table: Table, name: str, sql: str, kinds: Mapping[str, Kind]
    ) -> str | None:
        renamed = {old for old, new in self._places[table.name][1].items() if old != new}
        # A default names no column.
        reason = "" if what == "default" else why_it_names_other_things(sql, renamed)
        if reason:
            self._findings.not_carried(what, table.name, name, reason)
            return None
        try:
            return translate_expression(sql, self._source, self._target, kinds)
        except Untranslatable as why:
            self._findings.not_carried(what, table.name, name, f"{sql}: {why}")
            return None


def renames(pair: TablePair) -> dict[str, str]:
    """Return the name in the target of every column of a table."""
    return {column.name: column.name if there is None else there.name for column, there in pair.columns}


def why_it_names_other_things(sql: str, renamed: Iterable[str]) -> str:
    """Return why SQL cannot be carried beside a mapping, or nothing; names in it are not rewritten."""
    found = [
        name for name in sorted(renamed) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE)
    ]
    return f"it names {', '.join(found)}, which is mapped to another name" if found else ""
