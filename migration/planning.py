"""Makes the plan: where everything in the source goes, and what would not arrive as it was.

Pure: two schemas, a profile and the traits of both engines go in, a plan comes out. What the target
itself refuses to create is found out later (:mod:`migration.trial`) and taken out of the plan there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from migration import fitting
from migration.fitting import Findings
from migration.model import Column, Kind, Schema, Table, TableProfile, Traits, Trigger, View, fingerprint
from migration.new_tables import NewTables, renames, why_it_names_other_things
from migration.plan import (
    TARGET_ROWS,
    ColumnPlan,
    Plan,
    Severity,
    TablePair,
    TablePlan,
    load_order,
    pair_tables,
    winner,
)
from migration.profile import ladder
from migration.translation import Untranslatable, is_current_time, translate_query


def kinds_to_try(pair: TablePair, source: Traits, target: Traits) -> dict[str, tuple[Kind, ...]]:
    """Return, for each column of the source, the kinds it may become, the wished one first."""
    # Beside a table that is not there yet stands no column, only the name that one will have.
    return {
        column.name: _kinds_to_try(column, there if pair.target is not None else None, source, target)
        for column, there in pair.columns
    }


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


# Two databases with what they hold and can do, and what the user says about them: no two belong together.
def make_plan(  # noqa: PLR0913, PLR0917
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
    pairs = pair_tables(source, target, mapping)
    planner = _Planner(source_traits, target_traits, pairs)
    tables, left_out = [], {}
    for pair in pairs:
        rows = target_rows.get(pair.target_name, 0)
        if rows:
            planner.note_own_rows(pair.target_name, rows)
        if rows and winner(pair.target_name, accept) == "target":
            left_out[pair.source.name] = "the target keeps its own rows"
            continue
        plan = planner.table(pair, profiles[pair.source.name])
        tables.append(dataclasses.replace(plan, replaces_rows=bool(rows)))
    planner.check_names(target)
    views = planner.views(source, target, tables)
    triggers = planner.triggers(source, tables)
    planner.rest(source, target)
    return Plan(
        tables=load_order(tables),
        views=views,
        triggers=triggers,
        hazards=planner.findings.sorted(),
        left_out=left_out,
        source_fingerprint=fingerprint(source),
        target_fingerprint=fingerprint(target),
    )


class _Planner:
    """Plans table by table and gathers what it finds."""

    def __init__(self, source: Traits, target: Traits, pairs: Sequence[TablePair]) -> None:
        self.source, self.target, self.pairs = source, target, pairs
        self.findings = Findings()
        self.new_tables = NewTables(source, target, self.findings, pairs)
        self.same_dialect = source.dialect == target.dialect

    def note_own_rows(self, table: str, rows: int) -> None:
        """Ask whose rows stay in a table that is not empty."""
        self.findings.add(
            TARGET_ROWS,
            Severity.HAZARD,
            f"The target's {table} holds {rows} rows of its own; accept with "
            f"--accept {TARGET_ROWS}:{table}=source (they go) or =target (they stay, no others come)",
            table=table,
            count=rows,
        )

    def table(self, pair: TablePair, profile: TableProfile) -> TablePlan:
        """Plan one table."""
        for column, _ in pair.columns:
            fitting.check_values(
                column, profile.columns[column.name], pair.source, self.target, self.findings
            )
        if pair.target is None:
            target, columns = self.new_tables.plan(pair, profile)
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
            next_number=self._next_number(target, profile),
        )

    def _next_number(self, target: Table, profile: TableProfile) -> int | None:
        """Return the number that the next row must get; a sequence, unlike a rowid, begins at one."""
        if profile.next_number is None or not any(column.automatic for column in target.columns):
            return None
        return profile.next_number if self.target.keeps_storage_classes else max(profile.next_number, 1)

    def _existing_columns(self, pair: TablePair, profile: TableProfile) -> tuple[ColumnPlan, ...]:
        assert pair.target is not None
        columns = []
        for column, there in pair.columns:
            if there is None:
                self.findings.add(
                    "column-left-behind",
                    Severity.HAZARD,
                    "The target has no such column; map it with --map, or accept that it stays behind",
                    table=pair.source.name,
                    column=column.name,
                    count=profile.row_count,
                )
                continue
            found = profile.columns[column.name]
            fitting.check_fit(column, there, found, pair.source, self.findings)
            columns.append(ColumnPlan(column, there, found.kind))
        filled = {column.target.name for column in columns}
        for there in pair.target.columns:
            if there.name not in filled:
                self._note_unfilled(pair.target.name, there)
        fitting.check_indexes(pair.source, pair.target, renames(pair), self.findings)
        return tuple(columns)

    def _note_unfilled(self, table: str, there: Column) -> None:
        has_value = (
            there.nullable or there.default is not None or there.automatic or there.generated is not None
        )
        severity = Severity.NOTICE if has_value else Severity.BLOCKING
        consequence = "it gets its default" if has_value else "and it may not be empty"
        sentence = f"The source has no such column; {consequence}"
        self.findings.add("column-without-source", severity, sentence, table=table, column=there.name)

    # --- what is no table -----------------------------------------------------------------------------

    def views(self, source: Schema, target: Schema, tables: Sequence[TablePlan]) -> tuple[View, ...]:
        """Translate the views that the target does not have."""
        kinds = _kinds_everywhere(tables)
        there = {view.name for view in target.views}
        views = []
        for view in source.views:
            if view.name in there:
                sentence = f"The target keeps its own view {view.name}"
                self.findings.add("view-kept", Severity.NOTICE, sentence, table=view.name)
                continue
            reason = why_it_names_other_things(view.definition, self._renamed()) or self._why_too_long(
                view.name
            )
            if reason:
                self.findings.not_carried("view", view.name, view.name, reason)
                continue
            try:
                definition = translate_query(view.definition, self.source, self.target, kinds)
            except Untranslatable as why:
                self.findings.not_carried("view", view.name, view.name, str(why))
            else:
                views.append(View(view.name, definition))
        return tuple(views)

    def triggers(self, source: Schema, tables: Sequence[TablePlan]) -> tuple[Trigger, ...]:
        """Carry triggers between equal dialects; name them otherwise."""
        new = {table.source.name for table in tables if table.is_new}
        carried = []
        for trigger in source.triggers:
            if trigger.table not in new:
                continue
            reason = why_it_names_other_things(trigger.definition, self._renamed())
            if not self.same_dialect or not trigger.definition:
                reason = "code is not translated; write it anew for the target"
            if reason:
                self.findings.not_carried("trigger", trigger.table, trigger.name, reason)
            else:
                carried.append(trigger)
        return tuple(carried)

    def rest(self, source: Schema, target: Schema) -> None:
        """Name what has no portable form, and what the target has alone."""
        for thing in source.uncarried:
            self.findings.not_carried(thing.what.replace(" ", "-"), thing.name, thing.name, thing.reason)
        paired = {pair.target_name for pair in self.pairs}
        for table in target.tables:
            if table.name not in paired:
                sentence = "The source has no such table; it stays as it is"
                self.findings.add("table-only-in-target", Severity.NOTICE, sentence, table=table.name)

    # --- names ----------------------------------------------------------------------------------------

    def check_names(self, target: Schema) -> None:
        """Find names that the target would cut or take for one another."""
        tables = [(pair.source.name, pair.target_name) for pair in self.pairs]
        paired = {name for _, name in tables}
        there = [(table.name, table.name) for table in target.tables if table.name not in paired]
        self._check_taken(tables + there)
        for pair in self.pairs:
            is_new = pair.target is None
            names = [
                new
                for (_, there), new in zip(pair.columns, renames(pair).values(), strict=True)
                if is_new or there
            ]
            self._check_taken([(pair.source.name, name) for name in names], within=pair.source.name)
            for name in (pair.target_name, *names):
                if reason := self._why_too_long(name):
                    sentence = f"{name!r}: {reason}; map it to a shorter one with --map"
                    self.findings.add("name-too-long", Severity.BLOCKING, sentence, table=pair.source.name)

    def _check_taken(self, names: Sequence[tuple[str, str]], within: str = "") -> None:
        """Find names, each with the table it is about, that come to the same in the target."""
        folded = [name.lower() if self.target.folds_names else name for _, name in names]
        counts = Counter(folded)
        for (table, name), same in zip(names, folded, strict=True):
            if counts[same] > 1:
                what = f"{counts[same]} columns of {within}" if within else f"{counts[same]} tables"
                sentence = f"{what} would be called {name!r}; map all but one to another name with --map"
                self.findings.add("name-taken-twice", Severity.BLOCKING, sentence, table=table)

    def _why_too_long(self, name: str) -> str:
        size, limit = len(name.encode()), self.target.identifier_bytes
        too_long = limit is not None and size > limit
        return f"the name has {size} bytes, and the target keeps {limit}" if too_long else ""

    def _renamed(self) -> set[str]:
        """Return the names of tables and columns that are others in the target."""
        tables = {pair.source.name for pair in self.pairs if pair.target_name != pair.source.name}
        return tables | {old for pair in self.pairs for old, new in renames(pair).items() if old != new}


def _kinds_everywhere(tables: Iterable[TablePlan]) -> dict[str, Kind]:
    """Return the kinds of the column names that mean one kind in every table."""
    kinds: dict[str, set[Kind]] = {}
    for table in tables:
        for column in table.columns:
            kinds.setdefault(column.target.name, set()).add(column.target.kind)
    return {name: next(iter(found)) for name, found in kinds.items() if len(found) == 1}
