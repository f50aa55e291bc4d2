"""Makes the plan: types from the declaration *and* from what the columns really hold.

Pure: two schemas, a profile and the traits of both engines go in, a plan comes out. What the target
itself refuses to create is found out later (:mod:`migration.trial`) and taken out of the plan there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from migration import fitting
from migration.fitting import Findings
from migration.model import (
    Check,
    Column,
    ColumnProfile,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    TableProfile,
    Traits,
    Trigger,
    Unique,
    View,
    fingerprint,
)
from migration.plan import (
    TARGET_ROWS,
    ColumnPlan,
    Hazard,
    Plan,
    Severity,
    TablePair,
    TablePlan,
    label,
    load_order,
    pair_tables,
)
from migration.profile import ladder
from migration.translation import Untranslatable, is_current_time, translate_expression, translate_query


def kinds_to_try(pair: TablePair, source: Traits, target: Traits) -> dict[str, tuple[Kind, ...]]:
    """Return, for each column of the source, the kinds it may become, the wished one first."""
    return {column.name: _kinds_to_try(column, there, source, target) for column, there in pair.columns}


def _kinds_to_try(column: Column, there: Column | None, source: Traits, target: Traits) -> tuple[Kind, ...]:
    if source.keeps_storage_classes and target.keeps_storage_classes:
        return (Kind.ANY,)
    if there is not None and not target.keeps_storage_classes:
        return (there.kind,)
    if not source.keeps_storage_classes:
        return (column.kind,)
    if column.kind is Kind.TIMESTAMP and is_current_time(column.default):
        # The database itself writes UTC here, so text without a zone is an instant.
        return ladder(Kind.INSTANT)
    return ladder(column.kind)


def make_plan(
    source: Schema,
    target: Schema,
    profiles: Mapping[str, TableProfile],
    target_rows: Mapping[str, int],
    source_traits: Traits,
    target_traits: Traits,
    mapping: Mapping[str, str],
    accept: Sequence[str] = (),
) -> Plan:
    """Decide how everything in the source goes into the target, and list what would not arrive as it was.

    Parameters
    ----------
    profiles
        What the source's tables hold, by table; each column's profile was taken for the kind chosen.
    target_rows
        How many rows the target's tables hold already, by table.
    accept
        Names of accepted hazards; ``target-rows:TABLE=source`` or ``=target`` says whose rows stay.
    """
    planner = _Planner(source_traits, target_traits, Findings())
    tables, left_out = [], {}
    for pair in pair_tables(source, target, mapping):
        winner = _winner(pair.target_name, accept)
        rows = target_rows.get(pair.target_name, 0)
        if rows:
            planner.findings.add(
                TARGET_ROWS, Severity.HAZARD, f"The target's {pair.target_name} holds {rows} rows of its own; accept with "
                f"--accept {TARGET_ROWS}:{pair.target_name}=source (they go) or =target (they stay, the source's do not come)",
                table=pair.target_name, count=rows,
            )  # fmt: skip
        if rows and winner == "target":
            left_out[pair.source.name] = "the target keeps its own rows"
            continue
        plan = planner.table(pair, profiles[pair.source.name])
        tables.append(dataclasses.replace(plan, replaces_rows=bool(rows)))
    planner.check_names(tables)
    views = planner.views(source, target, tables)
    triggers = planner.triggers(source, tables)
    planner.rest(source, target, tables)
    return Plan(
        tables=load_order(tables),
        views=views,
        triggers=triggers,
        hazards=planner.findings.sorted(),
        left_out=left_out,
        source_fingerprint=fingerprint(source),
        target_fingerprint=fingerprint(target),
    )


def _winner(table: str, accept: Iterable[str]) -> str:
    prefix = f"{TARGET_ROWS}:{table}="
    return next((word[len(prefix) :] for word in accept if word.startswith(prefix)), "")


class _Planner:
    """Plans table by table and gathers what it finds."""

    def __init__(self, source: Traits, target: Traits, findings: Findings) -> None:
        self.source, self.target, self.findings = source, target, findings
        self.same_dialect = source.dialect == target.dialect

    def table(self, pair: TablePair, profile: TableProfile) -> TablePlan:
        """Plan one table."""
        for column, _ in pair.columns:
            fitting.check_values(column, profile.columns[column.name], pair.source, self.target, self.findings)
        if pair.target is None:
            target, columns = self._new_table(pair, profile)
        else:
            target, columns = pair.target, self._existing_columns(pair, profile)
        key = pair.source.primary_key
        is_key = bool(key) and not any(profile.columns[name].null_count for name in key)
        planned = {column.source.name for column in columns}
        return TablePlan(
            source=pair.source,
            target=target,
            columns=columns,
            is_new=pair.target is None,
            key=key if is_key and planned.issuperset(key) else (),
            row_count=profile.row_count,
            next_number=profile.next_number if any(column.automatic for column in target.columns) else None,
        )

    # --- into an existing table -----------------------------------------------------------------------

    def _existing_columns(self, pair: TablePair, profile: TableProfile) -> tuple[ColumnPlan, ...]:
        assert pair.target is not None
        columns = []
        for column, there in pair.columns:
            if there is None:
                self.findings.add(
                    "column-left-behind", Severity.HAZARD, "The target has no such column; map it with --map, or accept "
                    "that it stays behind", table=pair.source.name, column=column.name, count=profile.row_count,
                )  # fmt: skip
                continue
            found = profile.columns[column.name]
            fitting.check_fit(column, there, found, pair.source, self.findings)
            columns.append(ColumnPlan(column, there, found.kind))
        filled = {column.target.name for column in columns}
        for there in pair.target.columns:
            has_value = there.nullable or there.default is not None or there.automatic or there.generated is not None
            if there.name not in filled:
                self.findings.add(
                    "column-without-source", Severity.NOTICE if has_value else Severity.BLOCKING,
                    "The source has no such column; it gets its default" if has_value else
                    "The source has no such column, and it may not be empty", table=pair.target.name, column=there.name,
                )  # fmt: skip
        fitting.check_indexes(pair.source, pair.target, dict(_renames(pair)), self.findings)
        return tuple(columns)

    # --- into a new one -------------------------------------------------------------------------------

    def _new_table(self, pair: TablePair, profile: TableProfile) -> tuple[Table, tuple[ColumnPlan, ...]]:
        source, renames = pair.source, dict(_renames(pair))
        kinds = {name: found.kind for name, found in profile.columns.items()}
        columns = []
        for column, _ in pair.columns:
            new = self._new_column(source, column, profile.columns[column.name], kinds)
            columns.append(ColumnPlan(column, dataclasses.replace(new, name=renames[column.name]), kinds[column.name]))
        named = {column.source.name: column.target for column in columns}
        primary_key = self._primary_key(source, profile)
        # Some engines let a primary key be NULL, and tables that came from one keep that among themselves.
        key_columns = () if self.target.keeps_storage_classes else primary_key
        target = Table(
            name=pair.target_name,
            columns=tuple(
                dataclasses.replace(column.target, nullable=column.target.nullable and column.source.name not in key_columns)
                for column in columns
            ),
            primary_key=tuple(named[name].name for name in primary_key),
            uniques=tuple(Unique(u.name, tuple(renames[name] for name in u.columns)) for u in source.uniques),
            checks=tuple(self._checks(source, kinds)),
            foreign_keys=tuple(self._foreign_keys(source, profile, renames)),
            indexes=tuple(self._indexes(source, profile, kinds, renames)),
        )
        return target, tuple(
            dataclasses.replace(column, target=target.column(column.target.name)) for column in columns
        )

    def _new_column(self, table: Table, column: Column, found: ColumnProfile, kinds: Mapping[str, Kind]) -> Column:
        kind, size, precision, scale = found.kind, column.size, column.precision, column.scale
        if kind is Kind.TEXT and size is not None and found.longest_characters > size:
            self.findings.add(
                "length-not-kept", Severity.NOTICE, f"Declared as {column.declared}, but values are up to "
                f"{found.longest_characters} characters long: the new column has no limit",
                table=table.name, column=column.name, count=found.longest_characters,
            )  # fmt: skip
            size = None
        if kind is Kind.DECIMAL and precision is not None:
            whole = precision - (scale or 0)
            if found.integer_digits > whole or found.fraction_digits > (scale or 0):
                self.findings.add(
                    "precision-not-kept", Severity.NOTICE, f"Declared as {column.declared}, but values need "
                    f"{found.integer_digits} digits before the point and {found.fraction_digits} behind it: the new "
                    "column has no limit", table=table.name, column=column.name,
                )  # fmt: skip
                precision = scale = None
        if not self.same_dialect and column.collation:
            self.findings.add(
                "collation-not-carried", Severity.HAZARD, f"Compares with {column.collation}; the new column compares "
                "bytes, so other texts are equal and sorted", table=table.name, column=column.name,
            )  # fmt: skip
        digits = found.integer_digits + found.fraction_digits
        as_text = kind is Kind.DECIMAL and self.target.decimal_digits is not None and digits > self.target.decimal_digits
        if as_text:
            self.findings.add(
                "decimal-as-text", Severity.NOTICE, f"Values have up to {digits} digits; the new column keeps them as text, "
                "digit for digit", table=table.name, column=column.name,
            )  # fmt: skip
        return Column(
            name=column.name,
            kind=Kind.TEXT if as_text else kind,
            declared=column.declared,
            nullable=column.nullable,
            size=size if kind is Kind.TEXT else None,
            bits=column.bits,
            precision=precision if kind is Kind.DECIMAL and not as_text else None,
            scale=scale if kind is Kind.DECIMAL and not as_text else None,
            default=self._default(table, column, kind, kinds),
            generated=self._generated(table, column, kinds),
            automatic=column.automatic and kind in (Kind.INTEGER, Kind.ANY),
            always_automatic=column.always_automatic,
            never_reuses=column.never_reuses or not self.source.keeps_storage_classes,
            collation=column.collation if self.same_dialect else None,
        )

    def _default(self, table: Table, column: Column, kind: Kind, kinds: Mapping[str, Kind]) -> str | None:
        if column.default is None or column.automatic or column.default.upper() == "NULL":
            return None
        if not self.same_dialect and kind is Kind.BOOLEAN and column.default in ("0", "1"):
            return "TRUE" if column.default == "1" else "FALSE"
        if not self.same_dialect and is_current_time(column.default) and kind is Kind.INSTANT:
            return "CURRENT_TIMESTAMP"
        return self._translated("default", table, column.name, column.default, kinds)

    def _generated(self, table: Table, column: Column, kinds: Mapping[str, Kind]) -> str | None:
        if column.generated is None:
            return None
        return self._translated("generated", table, column.name, column.generated, kinds)

    def _primary_key(self, table: Table, profile: TableProfile) -> tuple[str, ...]:
        nulls = {name: profile.columns[name].null_count for name in table.primary_key}
        if any(nulls.values()) and not self.target.keeps_storage_classes:
            self.findings.add(
                "primary-key-not-carried", Severity.HAZARD, "Rows have no value in the primary key, which the target does "
                "not allow: the new table has none", table=table.name, count=sum(nulls.values()),
            )  # fmt: skip
            return ()
        return table.primary_key

    def _checks(self, table: Table, kinds: Mapping[str, Kind]) -> Iterable[Check]:
        for check in table.checks:
            condition = self._translated("check", table, check.name or check.condition, check.condition, kinds)
            if condition is not None:
                yield Check(check.name, condition)

    def _foreign_keys(self, table: Table, profile: TableProfile, renames: Mapping[str, str]) -> Iterable[ForeignKey]:
        for key in table.foreign_keys:
            count, examples = profile.orphans.get(label(key), (0, ()))
            if count:
                self.findings.add(
                    "foreign-key-not-carried", Severity.HAZARD, f"{count} rows refer to a row that is not there, so "
                    f"{label(key)} cannot be made; all rows are carried", table=table.name, count=count, examples=examples,
                )  # fmt: skip
            else:
                yield dataclasses.replace(key, columns=tuple(renames[name] for name in key.columns))

    def _indexes(
        self, table: Table, profile: TableProfile, kinds: Mapping[str, Kind], renames: Mapping[str, str]
    ) -> Iterable[Index]:
        for index in table.indexes:
            size = sum(profile.columns[part.text].longest_bytes for part in index.parts if not part.is_expression)
            collations = {part.collation for part in index.parts if part.collation} if not self.same_dialect else set()
            if self.target.index_bytes is not None and size > self.target.index_bytes:
                self._not_carried("index", table, index.name, f"its entries are up to {size} bytes long")
            elif collations or (index.method and not self.same_dialect):
                special = ", ".join(collations) or index.method
                self._not_carried("index", table, index.name, f"{special} has no counterpart")
            else:
                condition = index.condition
                if condition is not None:
                    condition = self._translated("index", table, index.name, condition, kinds)
                parts = [self._part(part, table, index, kinds, renames) for part in index.parts]
                if (condition is None) == (index.condition is None) and None not in parts:
                    yield dataclasses.replace(
                        index, condition=condition, parts=tuple(part for part in parts if part is not None)
                    )

    def _part(
        self, part: IndexPart, table: Table, index: Index, kinds: Mapping[str, Kind], renames: Mapping[str, str]
    ) -> IndexPart | None:
        if not part.is_expression:
            return dataclasses.replace(part, text=renames[part.text])
        text = self._translated("index", table, index.name, part.text, kinds)
        return None if text is None else dataclasses.replace(part, text=text)

    # --- what is no table -----------------------------------------------------------------------------

    def views(self, source: Schema, target: Schema, tables: Sequence[TablePlan]) -> tuple[View, ...]:
        """Translate the views that the target does not have."""
        kinds = _kinds_everywhere(tables)
        there = {view.name for view in target.views}
        views = []
        for view in source.views:
            if view.name in there:
                self.findings.add("view-kept", Severity.NOTICE, f"The target keeps its own view {view.name}", table=view.name)
                continue
            try:
                definition = translate_query(view.definition, self.source.dialect, self.target.dialect, kinds)
            except Untranslatable as reason:
                self.findings.not_carried("view", view.name, view.name, str(reason))
            else:
                views.append(View(view.name, definition))
        return tuple(views)

    def triggers(self, source: Schema, tables: Sequence[TablePlan]) -> tuple[Trigger, ...]:
        """Carry triggers between equal dialects; name them otherwise."""
        new = {table.source.name for table in tables if table.is_new}
        if self.same_dialect:
            return tuple(trigger for trigger in source.triggers if trigger.table in new and trigger.definition)
        for trigger in source.triggers:
            if trigger.table in new:
                self.findings.not_carried(
                    "trigger", trigger.table, trigger.name, "code is not translated; write it anew for the target"
                )
        return ()

    def rest(self, source: Schema, target: Schema, tables: Sequence[TablePlan]) -> None:
        """Name what has no portable form, and what the target has alone."""
        for thing in source.uncarried:
            self.findings.not_carried(thing.what.replace(" ", "-"), thing.name, thing.name, thing.reason)
        planned = {table.target.name for table in tables}
        for table in target.tables:
            if table.name not in planned:
                self.findings.add(
                    "table-only-in-target", Severity.NOTICE, "The source has no such table; it stays as it is",
                    table=table.name,
                )  # fmt: skip

    def check_names(self, tables: Sequence[TablePlan]) -> None:
        """Find new names that the target would cut or take for one another."""
        limit = self.target.identifier_bytes
        for table in tables if limit is not None else ():
            names = [table.target.name, *(column.target.name for column in table.columns)]
            names += [index.name for index in table.target.indexes] if table.is_new else []
            for name in names:
                if len(name.encode()) > limit:
                    self.findings.add(
                        "name-too-long", Severity.BLOCKING, f"{name!r} has {len(name.encode())} bytes and the target "
                        f"keeps {limit}; map it to a shorter one with --map", table=table.source.name,
                    )  # fmt: skip

    def _translated(self, what: str, table: Table, name: str, sql: str, kinds: Mapping[str, Kind]) -> str | None:
        try:
            return translate_expression(sql, self.source.dialect, self.target.dialect, kinds)
        except Untranslatable as reason:
            self._not_carried(what, table, name, f"{sql}: {reason}")
            return None

    def _not_carried(self, what: str, table: Table, name: str, reason: str) -> None:
        self.findings.not_carried(what, table.name, name, reason)


def _renames(pair: TablePair) -> Iterable[tuple[str, str]]:
    for column, there in pair.columns:
        yield column.name, column.name if there is None else there.name


def _kinds_everywhere(tables: Sequence[TablePlan]) -> dict[str, Kind]:
    """Return the kinds of the column names that mean one kind in every table."""
    kinds: dict[str, set[Kind]] = {}
    for table in tables:
        for column in table.columns:
            kinds.setdefault(column.target.name, set()).add(column.target.kind)
    return {name: next(iter(found)) for name, found in kinds.items() if len(found) == 1}


__all__ = ["Hazard", "kinds_to_try", "make_plan"]
