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
    Traits,
    Unique,
)
from migration.plan import ColumnPlan, Severity, TablePair, label
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
        Every table of the source beside its place in the target: foreign keys name tables by it.
    """

    def __init__(
        self, source: Traits, target: Traits, findings: Findings, pairs: Sequence[TablePair]
    ) -> None:
        self._source, self._target, self._findings = source, target, findings
        self._places = {pair.source.name: (pair.target_name, renames(pair)) for pair in pairs}
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
            new = self._column(source, column, profile.columns[column.name], kinds)
            target = dataclasses.replace(
                new, name=names[column.name], nullable=column.nullable and column.name not in filled
            )
            columns.append(ColumnPlan(column, target, kinds[column.name]))
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
        self, table: Table, column: Column, found: ColumnProfile, kinds: Mapping[str, Kind]
    ) -> Column:
        kind = found.kind
        precision, scale = self._precision(table, column, found)
        as_text = self._is_too_long_a_decimal(table, column, found)
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
            size=self._size(table, column, found),
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

    def _size(self, table: Table, column: Column, found: ColumnProfile) -> int | None:
        if found.kind is not Kind.TEXT or column.size is None or found.longest_characters <= column.size:
            return column.size if found.kind is Kind.TEXT else None
        self._findings.add(
            "length-not-kept",
            Severity.NOTICE,
            f"Declared as {column.declared}, but values are up to {found.longest_characters} characters "
            "long: the new column has no limit",
            table=table.name,
            column=column.name,
            count=found.longest_characters,
        )
        return None

    def _precision(self, table: Table, column: Column, found: ColumnProfile) -> tuple[int | None, int | None]:
        if found.kind is not Kind.DECIMAL or column.precision is None:
            return None, None
        scale = column.scale or 0
        if found.integer_digits <= column.precision - scale and found.fraction_digits <= scale:
            return column.precision, column.scale
        self._findings.add(
            "precision-not-kept",
            Severity.NOTICE,
            f"Declared as {column.declared}, but values need {found.integer_digits} digits before the point "
            f"and {found.fraction_digits} behind it: the new column has no limit",
            table=table.name,
            column=column.name,
        )
        return None, None

    def _is_too_long_a_decimal(self, table: Table, column: Column, found: ColumnProfile) -> bool:
        digits, limit = found.integer_digits + found.fraction_digits, self._target.decimal_digits
        if found.kind is not Kind.DECIMAL or limit is None or digits <= limit:
            return False
        self._findings.add(
            "decimal-as-text",
            Severity.NOTICE,
            f"Values have up to {digits} digits; the new column keeps them as text, digit for digit",
            table=table.name,
            column=column.name,
        )
        return True

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
            return "CURRENT_TIMESTAMP"
        return self._translated("default", table, column.name, column.default, kinds)

    def _generated(self, table: Table, column: Column, kinds: Mapping[str, Kind]) -> str | None:
        if column.generated is None:
            return None
        return self._translated("generated", table, column.name, column.generated, kinds)

    # --- constraints ----------------------------------------------------------------------------------

    def _primary_key(self, table: Table, profile: TableProfile) -> tuple[str, ...]:
        nulls = sum(profile.columns[name].null_count for name in table.primary_key)
        reason = self._why_not_a_tree(table.primary_key, profile)
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
            if reason := self._why_not_a_tree(unique.columns, profile):
                self._findings.not_carried("unique", table.name, columns, reason)
            else:
                yield Unique(
                    self._fitting_name(table, unique.name), tuple(names[name] for name in unique.columns)
                )

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
            if reason := self._why_no_index(index, profile):
                self._findings.not_carried("index", table.name, index.name, reason)
                continue
            condition = index.condition
            if condition is not None:
                condition = self._translated("index", table, index.name, condition, kinds)
            found = [self._part(part, table, index, kinds, names) for part in index.parts]
            parts = tuple(part for part in found if part is not None)
            if (condition is None) == (index.condition is None) and len(parts) == len(index.parts):
                yield dataclasses.replace(index, condition=condition, parts=parts)

    def _why_no_index(self, index: Index, profile: TableProfile) -> str:
        """Return why an index cannot be made, or nothing."""
        if not self._same_dialect:
            special = sorted({part.collation for part in index.parts if part.collation})
            special += [index.method] if index.method else []
            if special:
                return f"{', '.join(special)} has no counterpart"
        if not self._fits(index.name):
            return f"the name has {len(index.name.encode())} bytes, and the target keeps fewer"
        return self._why_not_a_tree([part.text for part in index.parts if not part.is_expression], profile)

    def _why_not_a_tree(self, columns: Sequence[str], profile: TableProfile) -> str:
        """Return why these values cannot be the entries of an index, or nothing."""
        size = sum(profile.columns[name].longest_bytes for name in columns)
        limit = self._target.index_bytes
        if limit is None or size <= limit:
            return ""
        return f"its entries are up to {size} bytes long, and the target indexes {limit}"

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

    # --- pieces ---------------------------------------------------------------------------------------

    def _fits(self, name: str) -> bool:
        limit = self._target.identifier_bytes
        return limit is None or len(name.encode()) <= limit

    def _fitting_name(self, table: Table, name: str | None) -> str | None:
        """Return a constraint's name, or none where it is too long and a made-up one has to do."""
        if name is None or self._fits(name):
            return name
        self._findings.add(
            "name-not-kept",
            Severity.NOTICE,
            f"The constraint {name} gets another name, because the target keeps no name so long",
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
